"""CRC-32C, the checksum of LevelDB's and TensorFlow's files, fast without compiled code.

Source: RFC 3720, appendix B.4, for the checksum; LevelDB's util/crc32c.h for its masked form.

A message is a polynomial over GF(2), its checksum the remainder modulo P. P divides x^290 + x^136 + x^113 + x^107 +
x^32 + 1 (found by search), and as squaring is linear there, the same with all exponents times 2^k. So bytes can be
added to later ones, at distances of any power of two, without a change of the remainder: long messages become short
ones at the speed of XOR, and only the last 290 bytes go through the usual table.
"""

# n bytes  k bytes that are left

import numpy as np
from jaxtyping import UInt8

DEGREE, LOWER = 290, (136, 113, 107, 32, 0)
STEP = DEGREE - LOWER[0]  # so many units can be folded at once, none of them into another
PIECE = 1 << 20
UNITS = (512, 16, 1)  # in bytes, large to small


def _table() -> tuple[int, ...]:
    values = list(range(256))
    for _ in range(8):
        values = [value >> 1 ^ (0x82F63B78 if value & 1 else 0) for value in values]
    return tuple(values)


TABLE = _table()


def crc32c(data: UInt8[np.ndarray, "n"]) -> int:
    """The checksum of bytes."""
    if len(data) <= DEGREE:
        return _remainder(data.tobytes(), 0xFFFFFFFF) ^ 0xFFFFFFFF
    left = np.zeros(0, np.uint8)
    for start in range(0, len(data), PIECE):
        left = np.concatenate([left, data[start : start + PIECE]])
        if start == 0:
            left[:4] ^= 0xFF  # the register is full of ones at first
        left = _folded(left, UNITS[0])
    for unit in UNITS[1:]:
        left = _folded(left, unit)
    return _remainder(left.tobytes(), 0) ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """The form in which a checksum is stored beside the bytes it is of."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _folded(data: UInt8[np.ndarray, "n"], unit: int) -> UInt8[np.ndarray, "k"]:
    """At most 290 units of bytes with the same remainder; the data are written over."""
    at, end = 0, len(data) - DEGREE * unit
    while at < end:
        count = min(STEP * unit, end - at)
        top = data[at : at + count]
        for exponent in LOWER:
            start = at + (DEGREE - exponent) * unit
            data[start : start + count] ^= top
        at += count
    return data[at:]


def _remainder(data: bytes, register: int) -> int:
    for byte in data:
        register = register >> 8 ^ TABLE[(register ^ byte) & 255]
    return register
