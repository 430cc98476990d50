"""TensorFlow's checkpoints: the recorded one is read, small ones of every kind, too; damage is reported in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from bundles import NUMBERS, Bundle, bundle, field, literal, masked_sum, shard_of
from kiloword.formats.tensor_bundle import file_names, is_shard, read_bundle, shards_beside

RECORDED = Path(__file__).parents[4] / "shared" / "fixtures" / "igpt_tf"
TENSORS = {
    "model/a": torch.arange(6.0).view(2, 3), "model/b/w": torch.tensor([1, -2, 1 << 40]),
    "model/bias": torch.ones(3, 1), "model/c": torch.tensor(2.5), "model/none": torch.empty(0, 4),
    "step": torch.tensor(1000),
}  # fmt: skip


def same(found: dict, wanted: dict) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in wanted.items()
    )


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recordings are not here")
def test_the_recorded_checkpoint_has_the_recorded_weights():
    found, wanted = read_bundle(RECORDED / "model.ckpt-1000"), load_file(RECORDED / "weights.safetensors")
    wanted.pop("model/clf/wclf", None)  # the probe's matrix is not in the checkpoint
    assert same(found, wanted)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recordings are not here")
def test_our_own_writer_writes_what_tensorflow_wrote(tmp_path):
    tensors = read_bundle(RECORDED / "model.ckpt-1000")
    again = read_bundle(bundle(tensors, 3).write(tmp_path / "again"))
    assert same(again, tensors)
    rows = {name: row.checksum for name, row in bundle(tensors).tensors.items()}
    index = (RECORDED / "model.ckpt-1000.index").read_bytes()
    assert all(checksum.to_bytes(4, "little") in index for checksum in rows.values())


@pytest.mark.parametrize("shards", [1, 2, 5, 7])
@pytest.mark.parametrize("pack", [None, literal], ids=["plain", "snappy"])
def test_small_ones(tmp_path, shards, pack):
    index = bundle(TENSORS, shards).write(tmp_path / "model.ckpt-7", size=60, pack=pack)
    for name in (index, tmp_path / "model.ckpt-7"):
        assert same(read_bundle(name), TENSORS)
    assert [path.name for path in shards_beside(index)] == [
        f"model.ckpt-7.data-{shard:05}-of-{shards:05}" for shard in range(shards)
    ]


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_every_kind_of_number_even_at_odd_places(tmp_path, dtype):
    tensors = {"a": torch.tensor([True]), "b": torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype), "c": torch.ones(())}
    assert same(read_bundle(bundle(tensors).write(tmp_path / "m")), tensors)


def test_the_files_stay_as_they_are(tmp_path):
    index = bundle(TENSORS).write(tmp_path / "m")
    read_bundle(index)["model/a"].zero_()
    assert same(read_bundle(index), TENSORS)


def test_texts_are_left_out_and_unknown_fields_are_read_over(tmp_path):
    made = bundle(TENSORS)
    made = made.changed("model/c", kind=7, shape=(), size=2).changed("model/a", more=field(9, b"new") + field(10, 3))
    assert same(read_bundle(made.write(tmp_path / "m")), {k: v for k, v in TENSORS.items() if k != "model/c"})


def test_a_checkpoint_is_an_index_and_its_shards():
    names = file_names("s/model.ckpt-9", 32)
    assert len(names) == 33 and names[0] == "s/model.ckpt-9.index" and names[32] == "s/model.ckpt-9.data-00031-of-00032"
    assert [is_shard(name) for name in names] == [False] + [True] * 32


def refused(path: Path, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        read_bundle(path)
    assert "\n" not in str(raised.value) and str(path.parent) in str(raised.value)


def test_files_that_are_missing_or_of_another_kind(tmp_path):
    refused(tmp_path / "m.index", r"there is no file .*m.index: give a checkpoint's .index")
    index = bundle(TENSORS, 2).write(tmp_path / "m")
    refused(shard_of(tmp_path / "m", 1, 2), r"holds numbers without names: give m.index beside it")
    shard_of(tmp_path / "m", 1, 2).rename(tmp_path / "away")
    refused(index, r"m.index needs m.data-00001-of-00002, which is not beside it: put it there, or fetch it")
    for content in (b"", b"hello", b"\x80\x02}", bytes(100), index.read_bytes()[:-1]):
        index.write_bytes(content)
        refused(index, r"m.index is damaged or not the index .* magic number\): fetch it again")


def test_shards_of_every_wrong_length(tmp_path):
    made = bundle({name: TENSORS[name] for name in ("model/a", "model/c", "step")})
    index = made.write(tmp_path / "m")
    shard, (data,) = shard_of(tmp_path / "m", 0, 1), made.shards
    for length in range(len(data)):
        shard.write_bytes(data[:length])
        refused(index, rf"00000-of-00001 has {length} bytes, '.*' in it ends at \d+: fetch it again")
    shard.write_bytes(data + b"more")
    assert len(read_bundle(index)) == 3
    shard.write_bytes(data[:5] + b"\xff" + data[6:])
    refused(index, r"00000-of-00001 holds other numbers for 'model/a' than its index says: fetch both again")


def test_every_index_that_is_cut_short(tmp_path):
    index = bundle(TENSORS).write(tmp_path / "m", size=100)
    content = index.read_bytes()
    for length in range(len(content)):
        index.write_bytes(content[:length])
        refused(index, "magic number")


SLICES = field(7, field(1, field(1, 0)))
HUGE = (1 << 40, 1 << 40)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"more": SLICES}, r"'model/a' is stored in slices, which are not read: save the variable in one piece"),
        ({"kind": 8}, r"'model/a' has the type of number 8, which is not read: save it as float32"),
        ({"kind": 2}, r"'model/a' has 24 bytes for \[2, 3\] numbers of 8"),
        ({"shape": (2, 4)}, r"'model/a' has 24 bytes for \[2, 4\] numbers of 4"),
        ({"shape": (), "size": 24}, r"24 bytes for \[\] numbers"),
        ({"shape": HUGE, "size": (1 << 64) - 1}, "more than 281,474,976,710,656 numbers"),
        ({"shape": (0, *HUGE), "size": 0}, "more than 281,474,976,710,656 numbers"),
        ({"shape": (1,) * 65}, "more than 64 axes"),
        ({"shape": ((1 << 64) - 2, (1 << 64) - 3)}, "more than 281,474,976,710,656 numbers"),  # -2 and -3
        ({"more": field(2, field(3, 1))}, "'model/a' has no shape"),
        ({"more": field(2, 7)}, "field 2 of a message is of another kind"),
        ({"more": field(1, b"x")}, "field 1 of a message is of another kind"),
        ({"more": b"\x1b"}, "a value of the unknown kind 3"),
        ({"more": b"\x2a\x05ab"}, "a message is cut short"),
        ({"more": b"\x2d\x05ab"}, "a message is cut short"),
        ({"more": b"\xff"}, "a number is cut short"),
        ({"shard": 1}, "'model/a' lies in shard 1, counted from 0, of 1"),
        ({"shard": (1 << 64) - 1}, "'model/a' lies in shard"),
        ({"offset": 1 << 62}, r"00000-of-00001 has \d+ bytes, 'model/a' in it ends at 4,611"),
        ({"offset": (1 << 64) - 8}, r"'model/a' in it ends at 18,446,"),
        ({"offset": 3}, "holds other numbers for 'model/a'"),
        ({"checksum": 0}, "holds other numbers for 'model/a'"),
    ],
)
def test_entries_that_are_not_read_or_make_no_sense(tmp_path, changed, said):
    refused(bundle(TENSORS).changed("model/a", **changed).write(tmp_path / "m"), said)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (None, "its first entry is not a header"),
        (field(1, 1) + field(2, 1), r"m.index: byte order 1, for readers of version 0: read are 0"),
        (field(1, 1) + field(3, field(1, 9) + field(2, 9)), r"m.index: byte order 0, for readers of version 9"),
        (b"", "it says that it has 0 shards"),
        (field(1, 1 << 60), "it says that it has 1,152,"),
        (field(1, 2), r"needs m.data-00000-of-00002, which is not beside it"),
        (field(1, b"1"), "field 1 of a message is of another kind"),
    ],
)
def test_headers(tmp_path, header, said):
    made = bundle(TENSORS)
    entries = [*([] if header is None else [(b"", header)]), *made.entries()[1:]]
    refused(made.write(tmp_path / "m", entries=entries), said)


def test_tensors_one_over_the_other_and_odd_names(tmp_path):
    made = bundle(TENSORS)
    many = {f"model/a/{n}": made.tensors["model/a"] for n in range(100)}
    refused(Bundle(many, made.shards).write(tmp_path / "m"), "has fewer bytes than its tensors together")
    refused(Bundle({}, made.shards).write(tmp_path / "m"), "m.index is the index .* without tensors: give another one")
    lines = Bundle({"two\nlines": made.tensors["model/a"]}, made.shards).changed("two\nlines", checksum=1)
    refused(lines.write(tmp_path / "m"), r"for 'two\\nlines' than")
    yes = Bundle({"b": bundle({"b": torch.tensor([True])}).tensors["b"]}, (b"\x02",))
    refused(yes.changed("b", checksum=masked_sum(b"\x02")).write(tmp_path / "m"), "more than yes and no for 'b'")


def test_names_that_are_no_text(tmp_path):
    made = bundle(TENSORS)
    entries = [(b"", made.header()), (b"\xff", made.tensors["model/a"].message())]
    refused(made.write(tmp_path / "m", entries=entries), "is damaged or not the index .*can't decode byte 0xff")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_happens_to_the_bytes_nothing_but_valueerror_comes(folder, data):
    made = bundle({name: TENSORS[name] for name in ("model/a", "model/c", "step")}, 2)
    index = made.write(folder / "m", pack=literal if data.draw(st.booleans()) else None)
    path = data.draw(st.sampled_from([index, *shards_beside(index)]))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    holds_or_refuses(index, made)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_the_messages_say_under_right_checksums(folder, data):
    made = bundle({name: TENSORS[name] for name in ("model/a", "model/c", "step")}, 2)
    entries = made.entries()
    at = data.draw(st.integers(0, len(entries) - 1))
    message = bytearray(entries[at][1])
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    entries[at] = entries[at][0], bytes(message) + data.draw(st.binary(max_size=6))
    holds_or_refuses(made.write(folder / "w", entries=entries), made)


def holds_or_refuses(index: Path, made: Bundle) -> None:
    """Either the numbers are those that the checksums are of, or it is said in a line that they are not."""
    try:
        found = read_bundle(index)
    except ValueError as error:
        assert "\n" not in str(error) and str(index.parent) in str(error)
        return
    sums = {row.checksum for row in made.tensors.values()} | {masked_sum(b"")}
    for value in found.values():
        raw = np.atleast_1d(value.numpy()).view(np.uint8) if value.numel() else np.zeros(0, np.uint8)
        assert masked_sum(raw.tobytes()) in sums
