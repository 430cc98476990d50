"""CRC-32C: the published check values, and the same as bit by bit at every length around the folds."""

import numpy as np
import pytest

from kiloword.formats import crc32c as module
from kiloword.formats.crc32c import crc32c, masked


def bytewise(data: np.ndarray) -> int:
    register = 0xFFFFFFFF
    for byte in data.tobytes():
        register = register >> 8 ^ module.TABLE[(register ^ byte) & 255]
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data, value):
    assert crc32c(np.frombuffer(data, np.uint8)) == value


@pytest.mark.parametrize("size", [1, 3, 4, 289, 290, 291, 444, 445, 4640, 4641, 7104, 7105, 148_480, 148_481, 400_003])
def test_the_same_as_byte_by_byte_whatever_the_length(size):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    before = data.copy()
    assert crc32c(data) == bytewise(data) and np.array_equal(data, before)


def test_the_same_in_pieces(monkeypatch):
    data = np.random.default_rng(0).integers(0, 256, 1_200_000, dtype=np.uint8)
    whole = crc32c(data)
    monkeypatch.setattr(module, "PIECE", 100_001)
    assert crc32c(data) == whole == bytewise(data)


def test_one_bit_changes_it():
    data = np.zeros(200_000, np.uint8)
    sums = {crc32c(data)}
    for at in (0, 3, 4, 51_519, 51_520, 199_709, 199_999):
        data[at] ^= 1
        sums.add(crc32c(data))
        data[at] ^= 1
    assert len(sums) == 8


def test_masked():
    assert masked(0) == 0xA282EAD8 and masked(0xFFFFFFFF) == 0xA282EAD7 and masked(1 << 15) == 0xA282EAD9
