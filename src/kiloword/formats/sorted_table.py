"""LevelDB's sorted tables: keys and values in checked blocks, found through an index block.

Source: google/leveldb, doc/table_format.md and table/block_builder.cc; TensorFlow's lib/io/table writes the same.
"""

from collections.abc import Iterator

import numpy as np

from kiloword.formats.crc32c import crc32c, masked
from kiloword.formats.snappy import unpacked
from kiloword.formats.varint import varint

FOOTER, TRAILER = 48, 5  # bytes: two block handles, padded, magic number; how a block is packed, its checksum
MAGIC = 0xDB4775248B80FB57
LARGEST, LONGEST, MOST = 1 << 24, 1 << 10, 100_000  # bytes of a table, bytes of a key, entries: beyond it is absurd

Entry = tuple[bytes, bytes]


def entries(table: bytes) -> Iterator[Entry]:
    """All keys with their values, in the order of the keys. Raises ValueError where the table is not what it says."""
    if len(table) > LARGEST:
        raise ValueError(f"it has more than the {LARGEST:,} bytes that are read")
    if len(table) < FOOTER or int.from_bytes(table[-8:], "little") != MAGIC:
        raise ValueError("it does not end with a table's magic number")
    footer, last, end, count, kept = table[-FOOTER:-8], None, 0, 0, 0
    _, _, at = _handle(footer, 0)  # of the block of filters, which nobody needs
    start, size, _ = _handle(footer, at)
    for _, handle in _of_block(_block(table, start, size)):
        start, size, _ = _handle(handle, 0)
        if start < end:
            raise ValueError("its blocks lie one over the other")
        end = start + size + TRAILER
        for key, value in _of_block(_block(table, start, size)):
            if last is not None and key <= last:
                raise ValueError("its keys are not in order")
            last, count, kept = key, count + 1, kept + len(key) + len(value)
            if count > MOST or kept > LARGEST:
                raise ValueError(f"it holds more than {MOST:,} entries or {LARGEST:,} bytes in them")
            yield key, value


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Start and size of a block, and where the two numbers end."""
    start, at = varint(data, at)
    size, at = varint(data, at)
    return start, size, at


def _block(table: bytes, start: int, size: int) -> bytes:
    """A block's content, checked and unpacked."""
    end = start + size
    if end + TRAILER > len(table) - FOOTER:
        raise ValueError("a block reaches beyond its end")
    stored = int.from_bytes(table[end + 1 : end + TRAILER], "little")
    if masked(crc32c(np.frombuffer(table, np.uint8, size + 1, start))) != stored:
        raise ValueError(f"the checksum of its block at byte {start} is wrong")
    if table[end] > 1:
        raise ValueError(f"a block is packed in way {table[end]}, known are 0 (not) and 1 (snappy)")
    return unpacked(table[start:end], LARGEST) if table[end] else table[start:end]


def _of_block(block: bytes) -> Iterator[Entry]:
    """A block's entries. A key repeats the first bytes of the one before; the restart points are not needed."""
    restarts = int.from_bytes(block[-4:], "little")
    at, end, key = 0, len(block) - 4 - 4 * restarts, b""
    if end < 0:
        raise ValueError("a block is shorter than its own list of restart points")
    while at < end:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        size, at = varint(block, at)
        if shared > len(key) or at + own + size > end:
            raise ValueError("an entry reaches beyond its block")
        if shared + own > LONGEST:
            raise ValueError(f"a key has {shared + own:,} bytes, more than the {LONGEST:,} that are read")
        key = key[:shared] + block[at : at + own]
        at += own + size
        yield key, block[at - size : at]
