"""Snappy: literals, copies that are longer than what they copy, and damage."""

import random
from contextlib import suppress

import pytest

import bundles
from kiloword.formats.snappy import unpacked


@pytest.mark.parametrize(
    ("packed", "wanted"),
    [
        (b"\x00", b""),
        (b"\x03\x08abc", b"abc"),
        (b"\x0a\x08abc\x0d\x03", b"abcabcabca"),  # copy of 7 with a distance in 1 + 3 bits
        (b"\x05\x00a\x0e\x01\x00", b"aaaaa"),  # in 2 bytes
        (b"\x06\x08abc\x0b\x03\x00\x00\x00", b"abcabc"),  # in 4 bytes
        (b"\xc8\x01\xf0\x63" + bytes(100) + b"\xfe\x64\x00" + b"\x8e\x64\x00", bytes(200)),
        (bundles.literal(b"x" * 100_000), b"x" * 100_000),
    ],
)
def test_what_was_packed_comes_out(packed, wanted):
    assert unpacked(packed, 1 << 20) == wanted


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        (b"", "a number is cut short"),
        (b"\x80", "a number is cut short"),
        (b"\xff" * 11, "a number has no end"),
        (b"\xff\xff\xff\xff\x7f", "says that it unpacks to 34,359,738,367 bytes"),
        (b"\x03\x08ab", "is cut short"),
        (b"\x03\xf4\x01", "is cut short"),
        (b"\x04\x08abc", "does not unpack to the 4 bytes"),
        (b"\x02\x08abc", "does not unpack to the 2 bytes"),
        (b"\x02\x08abc\x08abc", "does not unpack to the 2 bytes"),
        (b"\x08\x00a\x05\x02", "from before its beginning"),
        (b"\x08\x00a\x05\x00", "from before its beginning"),
    ],
)
def test_damage_is_told(packed, said):
    with pytest.raises(ValueError, match=said):
        unpacked(packed, 1 << 20)


def test_whatever_the_bytes_nothing_but_valueerror_comes():
    chance = random.Random(0)
    for _ in range(3000):
        with suppress(ValueError):
            assert len(unpacked(bytes([chance.randrange(1, 100)]) + chance.randbytes(chance.randrange(20)), 64)) <= 64
