"""Raster order: one token after the other, row by row (van den Oord et al. 2016, PixelRNN) or by any other path.

The paths, and that they matter little, are Esser et al. 2021's (Taming Transformers, section 4.4).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from kiloword.orders.order import OneByOne, Ranked, position_of_fed
from kiloword.tokens import Layout, Schedule

# Axes: b pictures, n tokens, h w rows and columns of the grid.


def rows(h: int, w: int) -> Int[Tensor, "h w"]:
    """Row by row, from the top."""
    return torch.arange(h * w).view(h, w)


def columns(h: int, w: int) -> Int[Tensor, "h w"]:
    """Column by column, from the left."""
    return torch.arange(h * w).view(w, h).T


def snake(h: int, w: int) -> Int[Tensor, "h w"]:
    """Row by row, every second one backwards."""
    rank = rows(h, w)
    return torch.where(torch.arange(h)[:, None] % 2 == 1, rank.flip(1), rank)


def spiral(h: int, w: int) -> Int[Tensor, "h w"]:
    """From the middle outwards: a spiral along the edges, reversed."""
    left, rank = torch.arange(h * w).view(h, w), torch.empty(h * w, dtype=torch.long)
    last = h * w
    while left.numel():
        edge = left[0]
        rank[edge] = torch.arange(last - 1, last - 1 - len(edge), -1)
        last -= len(edge)
        left = left[1:].T.flip(0)
    return rank.view(h, w)


def random(h: int, w: int) -> Int[Tensor, "h w"]:
    """One fixed random path."""
    return torch.randperm(h * w, generator=torch.Generator().manual_seed(0)).view(h, w)


PATHS = {"rows": rows, "columns": columns, "snake": snake, "spiral": spiral, "random": random}


@dataclass(frozen=True)
class RasterConfig:
    """`path` is one of `PATHS`, or the rank of every token in a grid: all numbers from 0 on, each once.

    `position_of`: a position has the coordinates of the token it predicts ("target"), or of the one it is "fed".
    """

    path: str | tuple[int, ...] = "rows"
    position_of: str = "target"

    def __post_init__(self):
        if isinstance(self.path, str):
            if self.path not in PATHS:
                raise ValueError(f"a raster goes by {', '.join(PATHS)} or by ranks, got {self.path!r}")
        else:
            object.__setattr__(self, "path", tuple(self.path))
            if sorted(self.path) != list(range(len(self.path))):
                raise ValueError(f"the ranks of a path are 0 to {len(self.path) - 1}, each once; got {self.path}")
        if self.position_of not in ("target", "fed"):
            raise ValueError(f'a position is that of the "target" or of the token "fed", got {self.position_of!r}')

    def build(self) -> "Raster":
        return Raster(self)


class Raster(OneByOne, Ranked):
    """One token after the other, for layouts of one grid; text is a grid of one row."""

    def __init__(self, config: RasterConfig = RasterConfig()):
        self.config = config

    def rank(self, layout: Layout) -> Int[Tensor, "n"]:
        """The step of each token."""
        if len(layout.sizes) != 1:
            raise ValueError(f"raster order draws one grid, this layout has {len(layout.sizes)}: use the draft order")
        if isinstance(self.config.path, str):
            return PATHS[self.config.path](*layout.sizes[0]).flatten()
        if len(self.config.path) != layout.count:
            raise ValueError(f"the path has {len(self.config.path)} ranks, the picture {layout.count} tokens")
        return torch.tensor(self.config.path)

    def row_positions(self, schedule: Schedule, layout: Layout) -> Int[Tensor, "b n"]:
        """The token that each position predicts, or the one before, which it is fed."""
        fed = self.config.position_of == "fed"
        return position_of_fed(schedule) if fed else super().row_positions(schedule, layout)
