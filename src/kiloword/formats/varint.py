"""Whole numbers of seven bits a byte, lowest first, as protobuf, LevelDB and snappy write them.

Source: protobuf's encoding guide, "Base 128 Varints".
"""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number below 2^64 that begins at `at`, and where it ends. Raises ValueError if the data end before."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("a number is cut short")
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            break
    else:
        raise ValueError("a number has no end")
    if value >> 64:
        raise ValueError("a number is too large")
    return value, at
