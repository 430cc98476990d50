"""Sizes: the text WIDTHxHEIGHT to (rows, columns) of a tensor; source: defined here."""

import re


def size_of(text: str | None) -> tuple[int, int] | None:
    """Rows and columns of "64x48"; None stays None. Raises ValueError for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)\s*[x×X*]\s*(\d+)", text.strip())
    if not found:
        raise ValueError(f"--size is {text!r}: write WIDTHxHEIGHT, like 64x64")
    return int(found[2]), int(found[1])
