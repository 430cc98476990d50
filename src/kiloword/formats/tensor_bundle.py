"""TensorFlow's checkpoints of the second kind, PREFIX.index beside PREFIX.data-00000-of-00032, read without TensorFlow.

Source: TensorFlow's core/util/tensor_bundle (tensor_bundle.cc, naming.cc) and core/protobuf/tensor_bundle.proto.

The index is a sorted table of protobuf messages, an entry a tensor; the shards hold the bare numbers. Nothing in either
is code. Shards are mapped into memory, and every tensor is checked against its checksum.
"""

import re
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kiloword.formats.crc32c import crc32c, masked
from kiloword.formats.sorted_table import LARGEST, entries
from kiloword.formats.varint import varint

DTYPES = {  # TensorFlow's number of each (types.proto)
    1: torch.float32, 2: torch.float64, 3: torch.int32, 4: torch.uint8, 5: torch.int16, 6: torch.int8, 9: torch.int64,
    10: torch.bool, 14: torch.bfloat16, 19: torch.float16,
}  # fmt: skip
TEXT = 7
SHARD = re.compile(r".+\.data-\d{5}-of-\d{5}", re.DOTALL)
DEEPEST, HIGHEST = 64, 1 << 48  # axes of a tensor, and numbers in it: beyond it is absurd

# The fields that matter in each message: numbers or bytes.
HEADER = {1: int, 2: int, 3: bytes}  # shards, byte order (0: little), version
VERSION = {2: int}  # the oldest reader
ENTRY = {1: int, 2: bytes, 3: int, 4: int, 5: int, 6: int, 7: bytes}  # dtype, shape, shard, offset, size, sum, slices
SHAPE, SIDE = {2: bytes, 3: int}, {1: int}  # sides, or that their number is unknown; size


class Unread(ValueError):
    """A checkpoint is whole, but of a kind that is not read."""


class Entry(NamedTuple):
    """Where a tensor lies, and what it is."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


def file_names(prefix: str, shards: int) -> tuple[str, ...]:
    """The files of a checkpoint: its index, which alone can be read, then its shards."""
    return (f"{prefix}.index", *(f"{prefix}{_ending(shard, shards)}" for shard in range(shards)))


def is_shard(name: str) -> bool:
    """Whether a file is called like one that holds a checkpoint's numbers, and means nothing without its index."""
    return SHARD.fullmatch(name) is not None


def shards_beside(index: Path) -> list[Path]:
    """The shards that lie beside an index, in order."""
    return sorted(path for path in index.parent.glob("*.data-*") if is_shard(path.name) and path.stem == index.stem)


def read_bundle(prefix_or_index: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names. Texts in it (as the graph of TensorFlow 2's objects) are left out.

    The tensors show the files, changed only in memory. Raises ValueError if a file is missing, damaged or another.
    """
    if is_shard(prefix_or_index.name):
        raise ValueError(f"{prefix_or_index} holds numbers without names: give {prefix_or_index.stem}.index beside it")
    index = prefix_or_index
    if index.suffix != ".index":
        index = index.with_name(f"{index.name}.index")
    shards, found = _read_index(index)
    files = {}
    for shard in sorted({entry.shard for entry in found.values() if entry.size}):
        path = index.with_name(index.stem + _ending(shard, shards))
        files[shard] = path, _mapped(path, index)
    _check_sizes(files, found)
    return {name: _tensor(name, entry, *files.get(entry.shard, (index, _nothing()))) for name, entry in found.items()}


def _read_index(path: Path) -> tuple[int, dict[str, Entry]]:
    """The number of shards, and the entries of all tensors."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}: give a checkpoint's .index, with its .data files beside it")
    try:
        with open(path, "rb") as file:
            pairs = entries(file.read(LARGEST + 1))
        key, header = next(pairs, (None, b""))
        if key != b"":
            raise ValueError("its first entry is not a header")
        shards, found = _shards(header), {}
        for key, message in pairs:
            if (entry := _entry(name := key.decode(), message, shards)) is not None:
                found[name] = entry
    except Unread as error:
        raise ValueError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or not the index of a TensorFlow checkpoint ({error}): fetch it again"
        ) from error
    if not found:
        raise ValueError(f"{path} is the index of a TensorFlow checkpoint without tensors: give another one")
    return shards, found


def _shards(header: bytes) -> int:
    """How many shards there are."""
    fields = _fields(header, HEADER)
    shards, order = _last(fields, 1), _last(fields, 2)
    reader = _last(_fields(_last(fields, 3, b""), VERSION), 2)
    if order or reader > 1:
        raise Unread(f"byte order {order}, for readers of version {reader}: read are 0 (little) and at most 1")
    if not 0 < shards < 100_000:
        raise ValueError(f"it says that it has {shards:,} shards")
    return shards


def _entry(name: str, message: bytes, shards: int) -> Entry | None:
    """A tensor's entry; None for texts. Raises Unread for other kinds, ValueError for what cannot be."""
    fields = _fields(message, ENTRY)
    kind, shard, offset, size, checksum = (_last(fields, number) for number in (1, 3, 4, 5, 6))
    if 7 in fields:
        raise Unread(f"{name!r} is stored in slices, which are not read: save the variable in one piece")
    if kind == TEXT:
        return None
    if kind not in DTYPES:
        raise Unread(f"{name!r} has the type of number {kind}, which is not read: save it as float32")
    fields = _fields(_last(fields, 2, b""), SHAPE)
    shape = tuple(_last(_fields(side, SIDE), 1) for side in fields.get(2, []))
    if _last(fields, 3) or len(shape) > DEEPEST or prod(max(1, side) for side in shape) > HIGHEST:
        raise ValueError(f"{name!r} has no shape, more than {DEEPEST} axes or more than {HIGHEST:,} numbers")
    if prod(shape) * DTYPES[kind].itemsize != size:
        raise ValueError(f"{name!r} has {size:,} bytes for {list(shape)} numbers of {DTYPES[kind].itemsize}")
    if shard >= shards:
        raise ValueError(f"{name!r} lies in shard {shard}, counted from 0, of {shards}")
    return Entry(DTYPES[kind], shape, shard, offset, size, checksum)


def _fields(message: bytes, wanted: dict[int, type]) -> dict[int, list[Any]]:
    """The values of the wanted fields of a protobuf message, in order. Raises ValueError for another kind of value."""
    found: dict[int, list[Any]] = {}
    for number, value in _values(message):
        if number in wanted:
            if not isinstance(value, wanted[number]):
                raise ValueError(f"field {number} of a message is of another kind")
            found.setdefault(number, []).append(value)
    return found


def _values(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers of fields and their values. Source: protobuf's encoding guide."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        wire = tag & 7
        if wire == 0:
            value, at = varint(message, at)
            yield tag >> 3, value
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"a message has a value of the unknown kind {wire}")
        size, at = varint(message, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
        if at + size > len(message):
            raise ValueError("a message is cut short")
        value, at = message[at : at + size], at + size
        yield tag >> 3, value if wire == 2 else int.from_bytes(value, "little")


def _last(fields: dict[int, list[Any]], number: int, default: Any = 0) -> Any:
    """A field's value: the last one counts, and one that is not there is 0."""
    return fields.get(number, [default])[-1]


def _ending(shard: int, shards: int) -> str:
    return f".data-{shard:05}-of-{shards:05}"


def _nothing() -> Tensor:
    return torch.empty(0, dtype=torch.uint8)


def _mapped(path: Path, index: Path) -> Tensor:
    """A shard's bytes."""
    if not path.is_file():
        raise ValueError(f"{index} needs {path.name}, which is not beside it: put it there, or fetch it")
    try:
        return torch.from_numpy(np.memmap(path, np.uint8, "c")) if path.stat().st_size else _nothing()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be mapped into memory: {error}") from error


def _check_sizes(files: dict[int, tuple[Path, Tensor]], found: dict[str, Entry]) -> None:
    """Raises ValueError if a shard is too short for its tensors, or if they must lie one over the other."""
    left = {shard: len(numbers) for shard, (_, numbers) in files.items()}
    for name, entry in found.items():
        if entry.size:
            path, numbers = files[entry.shard]
            end = entry.offset + entry.size
            left[entry.shard] -= entry.size
            if end > len(numbers):
                raise ValueError(f"{path} has {len(numbers):,} bytes, {name!r} in it ends at {end:,}: fetch it again")
            if left[entry.shard] < 0:
                raise ValueError(f"{path} has fewer bytes than its tensors together: fetch it and its index again")


def _tensor(name: str, entry: Entry, path: Path, numbers: Tensor) -> Tensor:
    """A tensor that shows its part of a shard, or a copy where that begins at an odd byte."""
    if not entry.size:
        return torch.empty(entry.shape, dtype=entry.dtype)
    part = numbers[entry.offset : entry.offset + entry.size]
    if masked(crc32c(part.numpy())) != entry.checksum:
        raise ValueError(f"{path} holds other numbers for {name!r} than its index says: fetch both again")
    if entry.dtype == torch.bool and part.max() > 1:
        raise ValueError(f"{path} holds more than yes and no for {name!r}: fetch it and its index again")
    part = part.clone() if entry.offset % entry.dtype.itemsize else part
    return part.view(entry.dtype).view(entry.shape)
