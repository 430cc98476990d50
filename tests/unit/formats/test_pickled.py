"""Pickled modules: their tensors come out, nothing in them runs, and what asks for more is refused by name."""

import io
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from kiloword.formats.pickled import tensors_of_module

HARMLESS = b"\x80\x02cdall_e.encoder\nEncoder\n)\x81}"  # PROTO 2, an empty Encoder, a dictionary for its state


class Net(nn.Module):
    """All that a state dict has to get right: nesting, buffers, one that is not kept, None, a slice, other numbers."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(OrderedDict(first=nn.Conv2d(3, 4, 3), act=nn.ReLU(), norm=nn.BatchNorm2d(4)))
        self.plain = nn.Linear(3, 2, bias=False)
        self.register_buffer("kept", torch.arange(6)[1:4])
        self.register_buffer("left", torch.zeros(3), persistent=False)
        self.transposed = nn.Parameter(torch.randn(3, 5, dtype=torch.float64).t())
        self.scalar = nn.Parameter(torch.tensor(2.5, dtype=torch.float16))
        self.none = nn.Parameter(torch.empty(0, 4))


def archive(path: Path, program: bytes, records: dict[str, bytes] | None = None, compression: int = 0) -> Path:
    """A file of torch's newer kind with this pickle."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("net/data.pkl", program)
        for name, values in (records or {}).items():
            file.writestr(f"net/data/{name}", values)
    return path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<i", len(value)) + value.encode()


def numbers(*values: int) -> bytes:
    """A tuple of whole numbers."""
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def tensor(size: tuple[int, ...], stride: tuple[int, ...], count: int = 4, offset: int = 0) -> bytes:
    """A module with a parameter w of such a size over a storage of `count` numbers."""
    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + numbers(count)[1:-1] + b"tQ"
    )
    view = storage + numbers(offset)[1:-1] + numbers(*size) + numbers(*stride) + b"\x89N"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + view + b"tR"
    return b"\x80\x02cnet\nNet\n)\x81}" + text("_parameters") + b"}" + text("w") + made + b"ssb."


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("newer", [True, False], ids=["archive", "older"])
def test_the_tensors_are_those_of_the_state_dict(tmp_path, protocol, newer):
    net = Net()
    torch.save(net, tmp_path / "net.pkl", pickle_protocol=protocol, _use_new_zipfile_serialization=newer)
    found, wanted = tensors_of_module(tmp_path / "net.pkl"), net.state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def test_a_class_that_is_nowhere_is_stood_in_for(tmp_path):
    path = archive(tmp_path / "net.pkl", tensor((2, 2), (2, 1)), {"0": struct.pack("<4f", 1, 2, 3, 4)})
    assert tensors_of_module(path)["w"].tolist() == [[1, 2], [3, 4]]


class Attack:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.recipe = (function, arguments)

    def __reduce__(self):
        return self.recipe


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("newer", [True, False], ids=["archive", "older"])
def test_a_command_is_refused_and_does_not_run(tmp_path, protocol, newer):
    mark, path = tmp_path / "ran", tmp_path / "net.pkl"
    net = nn.Linear(2, 2)
    net.extra = Attack(os.system, f"touch {mark}")
    torch.save(net, path, pickle_protocol=protocol, _use_new_zipfile_serialization=newer)
    with pytest.raises(ValueError, match=r"net.pkl asks for (posix|nt).system: refused, and nothing of it was run"):
        tensors_of_module(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # it would have run


@pytest.mark.parametrize("protocol", [0, 4])
@pytest.mark.parametrize(
    "function", [eval, exec, getattr, open, __import__, os.system, pickle.loads, torch.load, torch.hub.load]
)
def test_functions_are_refused_by_name(tmp_path, function, protocol):
    path = archive(tmp_path / "net.pkl", pickle.dumps(Attack(function, "x"), protocol))
    with pytest.raises(ValueError, match=rf"asks for \S*\.{function.__name__}: refused"):
        tensors_of_module(path)


TOUCH = text("touch")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"(" + TOUCH + b"ios\nsystem\n.", "uses INST"),
        (b"(cnet\nNet\n" + TOUCH + b"o.", "uses OBJ"),
        (b"cfunctools\npartial\n(cnet\nNet\ntR.", "asks for functools.partial"),
        (b"csubprocess\nPopen\n(" + TOUCH + b"tR.", "asks for subprocess.Popen"),
        (b"c__builtin__\neval\n(" + TOUCH + b"tR.", "asks for __builtin__.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93" + TOUCH + b"\x85R.", "asks for os.system"),
        (b"ctorch._utils\n_rebuild_tensor\n.", "asks for torch._utils._rebuild_tensor"),
        (b"ctorch.nn\nnot_called\n(tR.", "calls torch.nn.not_called"),
        (b"cpip\nmain\n(" + TOUCH + b"tR.", "calls pip.main"),
        (b"cnet\nNet\n(" + TOUCH + b"t\x81.", "makes a net.Net of arguments"),
        (b"cnet\nNet\n)}\x92.", "uses NEWOBJ_EX"),
        (b"ccollections\nOrderedDict\n)\x81.", "makes a collections.OrderedDict of"),
        (b"cnet\nNet\n}b.", "sets the state of net.Net"),
        (b"cnet\nNet\n)\x81N}\x86b.", "sets the state of net.Net"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n}b.", "sets the state of torch._utils._rebuild_tensor_v2"),
        (HARMLESS + text("__setstate__") + b"cos\nsystem\nsb" + TOUCH + b"b.", "asks for os.system"),
        (HARMLESS + text("__setstate__") + b"cnet\nrun\nsb" + TOUCH + b"b.", "sets the state of dall_e"),
        (HARMLESS + text("__reduce__") + b"cnet\nrun\nsb)R.", "calls dall_e.encoder.Encoder"),
        (b"\x82\x01.", "uses EXT1"),
        (b"Pos.system\n.", "uses PERSID"),
        (b"(" + text("module") + b"cos\nsystem\ntQ.", "asks for os.system"),
        (b"(" + text("storage") + b"cnet\nStorage\nNNNtQ.", "refers to a storage net.Storage"),
        (b"\x97.", "uses NEXT_BUFFER"),
        (b"I" + b"9" * 5000 + b"\n.", "is damaged"),
        (b"\x8e" + b"\xff" * 8 + b".", "is damaged"),
        (b"X\xff\xff\xff\xffabc.", "is damaged"),
        (b"r\xff\xff\xff\xff.", "is damaged"),
        (b"h\x05.", "is damaged"),
        (b"R.", "is damaged"),
        (b"t.", "is damaged"),
        (b".", "is damaged"),
        (b"", "is damaged"),
        (b"]X\x01\x00\x00\x00aa.", "it is a list, not a module"),
        (b"}]Ns.", "is damaged"),
        (HARMLESS + text("_modules") + b"]sb.", "is damaged"),
        (HARMLESS + text("_parameters") + b"}" + text("w") + b"K\x01ssb.", "w is a int, not a tensor"),
        (HARMLESS + b"b.", "is a module without weights"),
    ],
)
def test_programs_that_ask_for_more_or_make_no_sense(tmp_path, program, said):
    with pytest.raises(ValueError) as raised:
        tensors_of_module(archive(tmp_path / "net.pkl", program))
    assert said in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("size", "stride", "count", "offset"),
    [
        ((2**31 - 1,), (0,), 4, 0),
        ((2**31 - 1,) * 8, (0,) * 8, 4, 0),
        ((-1, -4), (1, 1), 4, 0),
        ((4,), (-1,), 4, 3),
        ((2, 2), (2,), 4, 0),
        ((2, 2), (3, 1), 4, 0),
        ((4,), (1,), 4, 1),
        ((4,), (1,), 4, -1),
        ((4,), (1,), 8, 0),
        ((4,), (1,), -4, 0),
        ((2**31 - 1,), (1,), 2**31 - 1, 0),
    ],
)
def test_tensors_larger_than_what_is_there(tmp_path, size, stride, count, offset):
    program = tensor(size, stride, count, offset)
    with pytest.raises(ValueError, match=r"is damaged .*storage"):
        tensors_of_module(archive(tmp_path / "net.pkl", program, {"0": struct.pack("<4f", 1, 2, 3, 4)}))


def test_modules_in_circles_and_bombs(tmp_path):
    inside = b"\x80\x02cnet\nNet\n)\x81q\x00}" + text("_modules") + b"}" + text("a") + b"h\x00ssb."
    with pytest.raises(ValueError, match="nests its modules without end"):
        tensors_of_module(archive(tmp_path / "loop.pkl", inside))
    bomb = b"\x80\x02cnet\nNet\n)\x81q\x00"
    for level in range(40):  # each holds the one before twice: 2^40 modules
        last = b"h" + bytes([level])
        children = b"}(" + text("a") + last + text("b") + last + b"u"
        bomb += b"cnet\nNet\n)\x81q" + bytes([level + 1]) + b"}" + text("_modules") + children + b"sb"
    with pytest.raises(ValueError, match="nests its modules without end"):
        tensors_of_module(archive(tmp_path / "bomb.pkl", bomb + b"."))
    packed = archive(tmp_path / "packed.pkl", tensor((4,), (1,)), {"0": bytes(10**6)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="unpacks to more than the file"):
        tensors_of_module(packed)


@pytest.mark.parametrize("newer", [True, False], ids=["archive", "older"])
def test_whatever_happens_to_the_bytes_nothing_but_valueerror_comes(tmp_path, newer):
    buffer = io.BytesIO()
    torch.save(nn.Linear(3, 2), buffer, _use_new_zipfile_serialization=newer)
    whole, path, chance = buffer.getvalue(), tmp_path / "net.pkl", random.Random(0)
    refused = 0
    for trial in range(150):
        damaged = bytearray(whole[: chance.randrange(len(whole))] if trial % 3 == 0 else whole)
        for _ in range(chance.randrange(1, 4) if damaged else 0):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            tensors_of_module(path)
        except ValueError as error:
            assert "net.pkl" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 50


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "net.pkl"
    for content in (b"", b"hello", b"PK\x03\x04", b"\x80\x02K\x05."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged or not a pickled PyTorch module"):
            tensors_of_module(path)
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="it is a dict, not a module"):
        tensors_of_module(path)
