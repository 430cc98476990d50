"""Sorted tables: entries come back in order however they are laid out, and what is wrong with a table is reported."""

import random

import pytest

from bundles import block, footer, literal, masked_sum, sealed, table, varint
from kiloword.formats.sorted_table import LARGEST, MOST, entries

ENTRIES = [(f"model/h{n // 9:02}/part/{n % 9}".encode(), bytes([n]) * (n % 40)) for n in range(200)]


@pytest.mark.parametrize("size", [1, 100, 4096, 1 << 20])
@pytest.mark.parametrize("pack", [None, literal], ids=["plain", "snappy"])
def test_entries_come_back_in_order(size, pack):
    assert list(entries(table(ENTRIES, size, pack))) == ENTRIES
    assert list(entries(table([], size, pack))) == []


def test_a_key_that_repeats_the_one_before():
    pairs = [(b"model/a", b"1"), (b"model/b", b"2"), (b"model/bb", b"3"), (b"n", b"4")]
    content = table(pairs)
    assert content.count(b"model") == 1 and list(entries(content)) == pairs


def test_every_table_that_is_cut_short_is_refused():
    content = table(ENTRIES, 500)
    for end in range(len(content)):
        with pytest.raises(ValueError, match="magic number"):
            list(entries(content[:end]))


def test_one_changed_bit_is_found():
    content = table(ENTRIES[:40], 500)
    for at in range(0, content.index(sealed(b"", block([]))[1]), 3):  # up to the block of filters, which is not read
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        with pytest.raises(ValueError, match=r"the checksum of its block at byte \d+ is wrong"):
            list(entries(bytes(changed)))


def built(*blocks: bytes, index: list[bytes] | None = None) -> bytes:
    """A table of blocks with right checksums, of whatever content."""
    out, handles = b"", []
    for content in blocks:
        handle, out = sealed(out, content)
        handles.append(handle)
    pairs = [(bytes([n]), handle) for n, handle in enumerate(handles if index is None else index)]
    handle, out = sealed(out, block(pairs, every=1))
    return out + footer(varint(0) * 2, handle)


END = (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
ONE = block([(b"a", b"1")])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (built(b""), "shorter than its own list"),
        (built(b"\xff\xff\xff\xff"), "shorter than its own list"),
        (built(b"\x00\x05\x00abc" + END), "reaches beyond its block"),
        (built(b"\x00\x01\x05abc" + END), "reaches beyond its block"),
        (built(b"\x01\x01\x01ab" + END), "reaches beyond its block"),
        (built(b"\x00\x00" + END), "a number is cut short|reaches beyond"),
        (built(b"\x00" + varint(2000) + b"\x00" + bytes(2000) + END), "a key has 2,000 bytes"),
        (built(b"\xff" * 11 + END), "a number has no end"),
        (built(b"\x00\x01\x00b\x00\x01\x00a" + END), "keys are not in order"),
        (built(ONE, ONE), "keys are not in order"),
        (built(ONE, index=[varint(1 << 63) + varint(1 << 63)]), "a block reaches beyond its end"),
        (built(ONE, index=[varint(0)]), "a number is cut short"),
        (built(block([]), index=[varint(0) + varint(8)] * 2), "its blocks lie one over the other"),
        (built(block([(n.to_bytes(4, "big"), b"") for n in range(MOST + 1)])), "holds more than 100,000 entries"),
        (bytes(LARGEST + 1), "more than the 16,777,216 bytes that are read"),
        (b"", "magic number"),
        (footer(b"", b""), "reaches beyond its end"),
        (footer(b"\xff" * 40, b""), "a number has no end"),
    ],
)
def test_tables_that_make_no_sense(content, said):
    with pytest.raises(ValueError, match=said):
        list(entries(content))


@pytest.mark.parametrize(("way", "said"), [(2, "packed in way 2, known are 0"), (1, "packed block")])
def test_ways_of_packing(way, said):
    with pytest.raises(ValueError, match=said):
        list(entries(packed_as(way)))


def packed_as(way: int) -> bytes:
    """A table whose first block says that it is packed in some way, and isn't."""
    content = ONE + bytes([way])
    out = content + masked_sum(content).to_bytes(4, "little")
    handle, out = sealed(out, block([(b"a", varint(0) + varint(len(ONE)))], every=1))
    return out + footer(varint(0) * 2, handle)


def test_whatever_is_in_the_blocks_nothing_but_valueerror_comes():
    chance, whole, refused = random.Random(0), block(ENTRIES[:40]), 0
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            list(entries(built(bytes(content[: chance.randrange(len(content))] if chance.random() < 0.2 else content))))
        except ValueError:
            refused += 1
    assert refused > 100
