"""A file of one JSON object a line, read as a sequence: only the lines that are indexed are parsed.

Source: the JSON Lines format (jsonlines.org).
"""

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


class JsonLines(Sequence[dict[str, Any]]):
    """The objects of a file that is not empty; it is memory-mapped, only where each line begins is kept."""

    def __init__(self, path: Path):
        with open(path, "rb") as file:
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            ends = np.cumsum([len(line) for line in file])
        self._starts = np.concatenate([[0], ends])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return json.loads(self._text[self._starts[number] : self._starts[number + 1]])
