"""Unpacking snappy, the compression of LevelDB's blocks: literal bytes, and copies of what came before.

Source: google/snappy, format_description.txt.
"""

from kiloword.formats.varint import varint


def unpacked(data: bytes, most: int) -> bytes:
    """The bytes that were packed. Raises ValueError for damaged ones, and where they would be more than `most`."""
    size, at = varint(data, 0)
    if size > most:
        raise ValueError(f"a packed block says that it unpacks to {size:,} bytes")
    found = bytearray()
    while at < len(data) and len(found) <= size:
        length, distance, at = _element(data, at)
        if distance is None:
            if at + length > len(data):
                raise ValueError("a packed block is cut short")
            found += data[at : at + length]
            at += length
        elif 0 < distance <= len(found):
            start = len(found) - distance
            repeated = bytes(found[start : start + length])
            found += (repeated * (length // distance + 1))[:length]
        else:
            raise ValueError("a packed block copies from before its beginning")
    if len(found) != size or at != len(data):
        raise ValueError(f"a packed block does not unpack to the {size:,} bytes that it says")
    return bytes(found)


def _element(data: bytes, at: int) -> tuple[int, int | None, int]:
    """Its length, how far back it is copied from (None: literal), and the offset after its tag."""
    tag, at = data[at], at + 1
    kind, length = tag & 3, (tag >> 2) + 1
    extra = (max(0, length - 60), 1, 2, 4)[kind]  # bytes of a long literal's length, or of a copy's distance
    if at + extra > len(data):
        raise ValueError("a packed block is cut short")
    number, at = int.from_bytes(data[at : at + extra], "little"), at + extra
    if kind == 0:
        return (number + 1 if extra else length), None, at
    if kind == 1:
        return (tag >> 2 & 7) + 4, tag >> 5 << 8 | number, at
    return length, number, at
