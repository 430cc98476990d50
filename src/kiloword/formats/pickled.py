"""Whole pickled modules, read without running them: what the file calls is never called, what it names never imported.

Source: PEP 307 and Python's `pickletools` for the opcodes, torch's `serialization.py` for its two kinds of file.

A pickle is a program for a small stack machine. This knows the opcodes that data need and no others; classes of modules
become empty stand-ins, and the few functions that rebuild a tensor become notes of where its numbers lie.
"""

import io
import pickletools
import struct
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

DTYPES = {
    "BFloat16": torch.bfloat16, "Bool": torch.bool, "Byte": torch.uint8, "Char": torch.int8, "Double": torch.float64,
    "Float": torch.float32, "Half": torch.float16, "Int": torch.int32, "Long": torch.int64, "Short": torch.int16,
}  # fmt: skip
STORAGES = {f"torch.{name}Storage": dtype for name, dtype in DTYPES.items()}
STANDARD = sys.stdlib_module_names | {"__builtin__", "copy_reg", "torch"}  # none but torch.nn holds classes of modules
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # how torch's older kind of file begins
DEEPEST, MOST = 64, 100_000  # modules inside modules, and modules in all: beyond that it is not a network
DAMAGE = (
    zipfile.BadZipFile, ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError, OverflowError,
    MemoryError, struct.error,
)  # fmt: skip


class Refused(ValueError):
    """A pickle needs more than tensors in modules."""


class Name(str):
    """A class or function by its full name: all that is known of it here."""


class Storage(NamedTuple):
    """`count` numbers, kept in the file under `key`."""

    key: str
    dtype: torch.dtype
    count: int


class View(NamedTuple):
    """A tensor: which numbers of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(eq=False)
class Module:
    """Stands in for an object of a class that is not here: its attributes."""

    name: str
    attributes: dict[str, Any] = field(default_factory=dict)


CALLS = {  # all that a pickle may call, and what happens instead
    "__builtin__.set": list,
    "builtins.set": list,
    "collections.OrderedDict": dict,
    "torch.device": lambda *which: None,
    "torch._utils._rebuild_parameter": lambda view, *rest: view,
    "torch._utils._rebuild_tensor_v2": lambda storage, offset, size, stride, *rest: View(storage, offset, size, stride),
}


def tensors_of_module(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers of a pickled module by their dotted names, as its `state_dict` would give them.

    Raises ValueError for files that need anything else, naming it, and for damaged ones.
    """
    file = io.BytesIO(path.read_bytes())
    try:
        found = _from_archive(file) if zipfile.is_zipfile(file) else _from_stream(file)
    except Refused as error:
        raise ValueError(f"{path} {error}: refused, and nothing of it was run") from error
    except DAMAGE as error:
        line = str(error).partition("\n")[0][:200] or type(error).__name__
        raise ValueError(f"{path} is damaged or not a pickled PyTorch module: {line}") from error
    if not found:
        raise ValueError(f"{path} is a module without weights")
    return found


def _from_archive(file: io.BytesIO) -> dict[str, Tensor]:
    """Torch's newer kind: a zip archive of the pickle and of its storages, a record each, none compressed."""
    with zipfile.ZipFile(file) as archive:
        programs = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise ValueError(f"its archive holds {len(programs)} data.pkl, not 1")
        left = file.seek(0, io.SEEK_END)

        def record(name: str) -> bytes:
            nonlocal left
            entry = archive.getinfo(programs[0].removesuffix("data.pkl") + name)
            left -= entry.file_size  # records that lie one over the other would give more than there is
            if entry.compress_type != zipfile.ZIP_STORED or left < 0:
                raise Refused(f"holds a record {name} that unpacks to more than the file")
            return archive.read(entry)

        if programs[0].replace("data.pkl", "byteorder") in archive.namelist() and record("byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        views = dict(views_of(Machine().run(io.BytesIO(record("data.pkl")))))
        storages = {view.storage for view in views.values()}
        numbers = {storage: _numbers(storage, record(f"data/{storage.key}")) for storage in storages}
    return {name: _tensor(view, numbers[view.storage]) for name, view in views.items()}


def _from_stream(file: io.BytesIO) -> dict[str, Tensor]:
    """Torch's older kind: pickles of a magic number, a version, facts, the module, the storages' keys; then those."""
    file.seek(0)
    machine = Machine()
    if machine.run(file) != MAGIC:
        raise ValueError("it begins like neither of torch's two kinds of file")
    version, facts = machine.run(file), machine.run(file)
    if version != VERSION or not facts["little_endian"]:
        raise ValueError(f"version {version} of the format, little-endian {facts['little_endian']}")
    views = dict(views_of(machine.run(file)))
    numbers = {}
    for key in machine.run(file):
        storage = machine.storages[key]
        if struct.unpack("<q", file.read(8)) != (storage.count,):
            raise ValueError(f"storage {key} is not {storage.count} numbers long")
        numbers[storage] = _numbers(storage, file.read(max(0, storage.count) * storage.dtype.itemsize))
    return {name: _tensor(view, numbers[view.storage]) for name, view in views.items()}


class Machine:
    """Pickle's stack machine, as far as tensors in modules need it. Raises `Refused` for all else."""

    def __init__(self):
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, file: io.BytesIO) -> Any:
        """The value of the pickle that begins here; the file is left where it ends."""
        self.stack, self.below, self.memo = [], [], {}
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                break
            self.step(opcode.name, argument)
        return self.stack.pop()

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "BINFLOAT" | "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode == "NEWTRUE")
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_SET" | "EMPTY_DICT":
                stack.append({"EMPTY_TUPLE": (), "EMPTY_DICT": {}}.get(opcode, []))
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "TUPLE":
                items = self.marked()
                self.stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND" | "SETITEM":
                items = [stack.pop() for _ in range(1 if opcode == "APPEND" else 2)]
                put(stack[-1], items[::-1])
            case "APPENDS" | "ADDITEMS" | "SETITEMS":
                items = self.marked()
                put(self.stack[-1], items)
            case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                self.memo[len(self.memo) if opcode == "MEMOIZE" else argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(named(module, name))
            case "BINPERSID":
                stack.append(self.persistent(*stack.pop()))
            case "NEWOBJ" | "REDUCE" | "BUILD":
                argument = stack.pop()
                stack.append({"NEWOBJ": made, "REDUCE": called, "BUILD": filled}[opcode](stack.pop(), argument))
            case _:
                raise Refused(f"uses {opcode}, which tensors in modules don't need")

    def marked(self) -> list[Any]:
        """What lies above the last mark; it is taken away."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def persistent(self, kind: Any, of: Any, key: Any, *rest: Any) -> Any:
        """A storage; or, in the older files, a class with its source, of which only the name is taken."""
        if kind == "module":
            return of
        if kind != "storage" or of not in STORAGES or (len(rest) == 3 and rest[2] is not None):
            raise Refused(f"refers to a {kind} {of}")
        self.storages[key] = Storage(key, STORAGES[of], rest[1])
        return self.storages[key]


def named(module: Any, name: Any) -> Name:
    """A class that may be stood in for, or a function that is not called but understood."""
    full = Name(f"{module}.{name}")
    foreign = module.split(".")[0] not in STANDARD or f"{module}.".startswith("torch.nn.")
    if not (foreign or full in CALLS or full in STORAGES):
        raise Refused(f"asks for {full}")
    return full


def called(function: Any, arguments: Any) -> Any:
    if not isinstance(function, Name) or function not in CALLS:
        raise Refused(f"calls {said(function)}")
    return CALLS[function](*arguments)


def made(of: Any, arguments: Any) -> Module:
    if not isinstance(of, Name) or of in CALLS or of in STORAGES or arguments != ():
        raise Refused(f"makes a {said(of)} of arguments")
    return Module(of)


def filled(target: Any, state: Any) -> Any:
    """An object given its attributes; what a dictionary carries beside its items is left out."""
    if isinstance(target, Module) and isinstance(state, dict):
        target.attributes.update(state)
    elif not isinstance(target, dict):
        raise Refused(f"sets the state of {said(target)}")
    return target


def said(value: Any) -> str:
    """What a value is, for a message."""
    return value if isinstance(value, Name) else value.name if isinstance(value, Module) else type(value).__name__


def put(target: Any, items: list[Any]) -> None:
    """Items into a list, or alternating keys and values into a dictionary."""
    if isinstance(target, dict):
        target.update(zip(items[::2], items[1::2], strict=True))
    elif isinstance(target, list):
        target.extend(items)
    else:
        raise Refused(f"puts items into {type(target).__name__}")


def views_of(module: Any) -> Iterator[tuple[str, View]]:
    """All tensors in a module and the modules inside it, by their dotted names."""
    waiting, seen = [("", module)], 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        if seen > MOST or prefix.count(".") > DEEPEST:
            raise Refused(f"nests its modules without end, beyond {DEEPEST} levels or {MOST:,} modules")
        if not isinstance(module, Module):
            raise ValueError(f"{prefix[:-1] or 'it'} is a {said(module)}, not a module")
        attributes = module.attributes
        for name, view in [*attributes.get("_parameters", {}).items(), *attributes.get("_buffers", {}).items()]:
            if not isinstance(view, View | None):
                raise ValueError(f"{prefix}{name} is a {said(view)}, not a tensor")
            if view is not None and name not in attributes.get("_non_persistent_buffers_set", ()):
                yield prefix + name, view
        children = attributes.get("_modules", {}).items()
        waiting += [(f"{prefix}{name}.", child) for name, child in children if child is not None]


def _numbers(storage: Storage, record: bytes) -> Tensor:
    """The numbers of a storage."""
    if len(record) != storage.count * storage.dtype.itemsize:
        raise ValueError(f"storage {storage.key} has {len(record)} bytes, not {storage.count} {storage.dtype}")
    return torch.frombuffer(bytearray(record), dtype=storage.dtype) if record else torch.empty(0, dtype=storage.dtype)


def _tensor(view: View, numbers: Tensor) -> Tensor:
    """The tensor itself. Raises ValueError if it would reach beyond its storage, or be larger than that."""
    (key, _, count), offset, size, stride = view
    if len(size) != len(stride) or min((offset, *size, *stride)) < 0 or prod(size) > count:
        raise ValueError(f"a tensor of {size} does not fit its storage {key} of {count} numbers")
    if 0 not in size and offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) >= count:
        raise ValueError(f"a tensor of {size} reaches beyond its storage {key} of {count} numbers")
    return numbers.as_strided(size, stride, 0 if 0 in size else offset)
