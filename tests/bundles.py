"""TensorFlow's checkpoints written byte by byte, whole or with anything wrong in them that a test wants."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

Pack = Callable[[bytes], bytes]

NUMBERS = {
    torch.float32: 1, torch.float64: 2, torch.int32: 3, torch.uint8: 4, torch.int16: 5, torch.int8: 6, torch.int64: 9,
    torch.bool: 10, torch.bfloat16: 14, torch.float16: 19,
}  # fmt: skip


def varint(value: int) -> bytes:
    rest = value >> 7
    return bytes([value & 127 | 128]) + varint(rest) if rest else bytes([value])


def field(number: int, value: int | bytes, fixed: bool = False) -> bytes:
    """A field of a protobuf message."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3 | 5) + value.to_bytes(4, "little") if fixed else varint(number << 3) + varint(value)


def masked_sum(data: bytes) -> int:
    """LevelDB's checksum, bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    register ^= 0xFFFFFFFF
    return ((register >> 15 | register << 17) + 0xA282EAD8) & 0xFFFFFFFF


def block(entries: list[tuple[bytes, bytes]], every: int = 16) -> bytes:
    """A block of a sorted table: keys by what differs from the one before, a fresh start `every` entries."""
    out, last, starts = b"", b"", [0]
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % every:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        elif number:
            starts.append(len(out))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return out + b"".join(start.to_bytes(4, "little") for start in [*starts, len(starts)])


def literal(data: bytes) -> bytes:
    """Packed by snappy without any copies."""
    return varint(len(data)) + b"".join(
        b"\xf4" + (len(part) - 1).to_bytes(2, "little") + part
        for part in (data[start : start + 60000] for start in range(0, len(data), 60000))
    )


def table(entries: list[tuple[bytes, bytes]], size: int = 4096, pack: Pack | None = None) -> bytes:
    """A sorted table, in blocks of about `size` bytes."""
    groups: list[list[tuple[bytes, bytes]]] = [[]]
    for key, value in entries:
        if sum(len(k) + len(v) for k, v in groups[-1]) >= size:
            groups.append([])
        groups[-1].append((key, value))
    out, offsets = b"", []
    for group in groups:
        offset, out = sealed(out, block(group), pack)
        offsets.append((group[-1][0] if group else b"", offset))
    filters, out = sealed(out, block([]))
    index, out = sealed(out, block(offsets, every=1))
    return out + footer(filters, index)


def sealed(out: bytes, content: bytes, pack: Pack | None = None) -> tuple[bytes, bytes]:
    """A block's offset and length, encoded, and the table with the block appended."""
    content = pack(content) + b"\1" if pack else content + b"\0"
    return varint(len(out)) + varint(len(content) - 1), out + content + masked_sum(content).to_bytes(4, "little")


def footer(filters: bytes, index: bytes) -> bytes:
    return (filters + index).ljust(40, b"\0") + 0xDB4775248B80FB57.to_bytes(8, "little")


@dataclass(frozen=True)
class Entry:
    """A tensor's entry, as it is written."""

    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    more: bytes = b""

    def message(self) -> bytes:
        sides = b"".join(field(2, field(1, side) if side else b"") for side in self.shape)
        numbers = b"".join(
            field(number, value) for number, value in ((3, self.shard), (4, self.offset), (5, self.size)) if value
        )
        return field(1, self.kind) + field(2, sides) + numbers + field(6, self.checksum, fixed=True) + self.more


@dataclass(frozen=True)
class Bundle:
    """A checkpoint in memory: its tensors' entries by name, and the shards' bytes."""

    tensors: dict[str, Entry]
    shards: tuple[bytes, ...]
    version: int = 1

    def header(self) -> bytes:
        return field(1, len(self.shards)) + field(3, field(1, self.version))

    def entries(self) -> list[tuple[bytes, bytes]]:
        return [(b"", self.header()), *sorted((name.encode(), entry.message()) for name, entry in self.tensors.items())]

    def changed(self, name: str, **values) -> "Bundle":
        return replace(self, tensors=self.tensors | {name: replace(self.tensors[name], **values)})

    def write(
        self, prefix: Path, size: int = 4096, pack: Pack | None = None, entries: list[tuple[bytes, bytes]] | None = None
    ) -> Path:
        """Its files on disk, perhaps with other `entries`; the index is given back."""
        for number, data in enumerate(self.shards):
            shard_of(prefix, number, len(self.shards)).write_bytes(data)
        index = Path(f"{prefix}.index")
        index.write_bytes(table(self.entries() if entries is None else entries, size, pack))
        return index


def shard_of(prefix: Path, number: int, shards: int) -> Path:
    return Path(f"{prefix}.data-{number:05}-of-{shards:05}")


def bundle(tensors: dict[str, Tensor], shards: int = 1, checksum: Callable[[bytes], int] = masked_sum) -> Bundle:
    """Tensors distributed over the shards, contiguous in each."""
    entries, data = {}, [bytearray() for _ in range(shards)]
    for number, (name, value) in enumerate(sorted(tensors.items())):
        shard = number % shards
        raw = value.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        size = math.prod(value.shape) * value.element_size()
        entries[name] = Entry(NUMBERS[value.dtype], tuple(value.shape), shard, len(data[shard]), size, checksum(raw))
        data[shard] += raw
    return Bundle(entries, tuple(map(bytes, data)))
