"""Notation: places and tokens as people write them, "16,16=1026", and read from what they wrote.

A token of several codes is written 3.7.1.0.4, or as one number of which the first code counts least (Mentzer et al.
2023, listing in appendix A); bits are written 0110, or as one number of which the first bit counts most.
"""

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Bits, Categorical, Codes, Layout, TokenSpace, Vector

# Axes: none; a token is a tensor of its space's tail.

KEEP = "-"  # a group that stays as it is


@dataclass(frozen=True)
class Place:
    """A token's row and column, counted from 0, in grid `scale` (0 is the coarsest)."""

    scale: int
    row: int
    column: int

    def index(self, layout: Layout) -> int:
        """Its number among the tokens of all grids."""
        return layout.part(self.scale).start + self.row * layout.sizes[self.scale][1] + self.column

    def __str__(self) -> str:
        return f"{self.row},{self.column}"


@dataclass(frozen=True)
class Notation:
    """How tokens of a space are written; those of nested quantizers have `groups` equal groups, with / between."""

    space: TokenSpace
    groups: int = 1

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Notation":
        """The notation of a tokenizer's tokens."""
        groups, space = tokenizer.groups, tokenizer.space
        return cls(space, groups if isinstance(space, Codes) and len(space.sizes) % groups == 0 else 1)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each code of one group can take. Raises ValueError for continuous tokens."""
        match self.space:
            case Categorical(size):
                return (size,)
            case Codes(sizes):
                return sizes[: len(sizes) // self.groups]
            case Bits(dim):
                return (2,) * dim
        raise ValueError(f"tokens are vectors of {self.space.dim} real numbers here, so there are no codes to name")

    def group(self, number: int) -> slice:
        """Which of a token's codes belong to a group."""
        return slice(number * len(self.sizes), (number + 1) * len(self.sizes))

    def about(self) -> str:
        """The space in words: "8 groups of 5 codes of 8, 8, 8, 5 and 5 values"."""
        match self.space:
            case Categorical(size):
                return f"ids from 0 to {size - 1:,}"
            case Bits(dim):
                return f"{dim} bits"
            case Vector(dim):
                return f"vectors of {dim} real numbers"
        sizes = self.sizes
        each = f"{sizes[0]:,}" if len(set(sizes)) == 1 else f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"
        codes = f"{len(sizes)} code{'s' * (len(sizes) > 1)} of {each} values"
        return f"{self.groups} groups of {codes}" if self.groups > 1 else codes

    def write(self, token: Tensor) -> str:
        """A token of ids, codes or bits in full: 1026, 3.7.1.0.4 or 0110."""
        return "/".join(self.parts(token, flat=self.groups > 1))

    def parts(self, token: Tensor, flat: bool) -> list[str]:
        """Each group of a token, as one number (`flat`) or code by code."""
        values = token.reshape(self.groups, -1).tolist()
        return [str(self.number(group)) if flat else self._spelled(group) for group in values]

    def read(self, text: str, old: Tensor) -> Tensor:
        """The token that was written; groups left out, or written -, are those of the old one.

        Raises ValueError naming what is no token of the space.
        """
        groups = text.split("/")
        if len(groups) > self.groups:
            raise ValueError(f"{text!r} has {len(groups)} groups, a token here has {self.groups}: leave out the rest")
        values = old.reshape(self.groups, -1).clone()
        for number, written in enumerate(groups):
            if written.strip() != KEEP:
                values[number] = torch.tensor(self._codes(written.strip()))
        return values.view(old.shape)

    def number(self, codes: list[int]) -> int:
        """One group's codes as one number."""
        codes, sizes = (codes[::-1] if isinstance(self.space, Bits) else codes), self.sizes
        return sum(code * math.prod(sizes[:place]) for place, code in enumerate(codes))

    def codes(self, number: int) -> list[int]:
        """The codes of one group that `number` stands for."""
        codes = []
        for size in self.sizes:
            number, code = divmod(number, size)
            codes.append(code)
        return codes[::-1] if isinstance(self.space, Bits) else codes

    def _spelled(self, codes: list[int]) -> str:
        return ("" if isinstance(self.space, Bits) else ".").join(map(str, codes))

    def _codes(self, text: str) -> list[int]:
        sizes, most = self.sizes, math.prod(self.sizes)
        if isinstance(self.space, Bits) and re.fullmatch(rf"[01]{{{len(sizes)}}}", text):
            return [int(bit) for bit in text]
        if not re.fullmatch(r"\d+(\.\d+)*", text):
            raise ValueError(f"{text!r} is no token: write {self._example()}")
        codes = [int(code) for code in text.split(".")]
        if len(codes) == 1:
            if codes[0] >= most:
                raise ValueError(f"token {text} is out of range: write one from 0 to {most - 1:,}")
            return self.codes(codes[0])
        if len(codes) != len(sizes):
            raise ValueError(f"token {text} has {len(codes)} codes: write {self._example()}")
        for code, size in zip(codes, sizes, strict=True):
            if code >= size:
                raise ValueError(f"code {code} of token {text} is out of range: write one from 0 to {size - 1:,}")
        return codes

    def _example(self) -> str:
        sizes, most = self.sizes, math.prod(self.sizes) - 1
        if len(sizes) == 1:
            return f"a number from 0 to {most:,}"
        spelled = self._spelled([min(size - 1, 1) for size in sizes])
        spelled = spelled if len(spelled) <= 40 else f"{len(sizes)} codes with dots between"
        return f"{spelled}, or a number from 0 to {most:,}"


def read_place(text: str, layout: Layout) -> Place:
    """A place written "ROW,COLUMN", or "GRID:ROW,COLUMN" for another than the finest grid.

    Raises ValueError, saying which places there are.
    """
    found = re.fullmatch(r"\s*(?:(\d+)\s*:)?\s*(\d+)\s*,\s*(\d+)\s*", text)
    if not found:
        raise ValueError(f"{text!r} is no place in the grid: write ROW,COLUMN like 1,2, counted from 0")
    scale = int(found[1]) if found[1] else len(layout.sizes) - 1
    if scale >= len(layout.sizes):
        raise ValueError(f"there is no grid {scale}: this picture has grids 0 to {len(layout.sizes) - 1}")
    row, column = int(found[2]), int(found[3])
    rows, columns = layout.sizes[scale]
    if row >= rows or column >= columns:
        raise ValueError(
            f"{text} is outside the grid of {rows} rows and {columns} columns: "
            f"rows are 0 to {rows - 1}, columns 0 to {columns - 1}"
        )
    return Place(scale, row, column)


def split_change(text: str) -> tuple[str, str]:
    """The place and the token of "16,16=1026"."""
    place, equals, token = text.partition("=")
    if not equals or not token.strip():
        raise ValueError(f"{text!r} is no change: write ROW,COLUMN=TOKEN, like 16,16=1026")
    return place, token
