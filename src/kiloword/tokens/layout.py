"""Layout: where the tokens of a picture are, as grids from coarse to fine in one common frame.

A single grid serves raster systems (Chen et al. 2020, Image GPT); several serve next-scale prediction
(Tian et al. 2024, VAR) and drafts. Rows and columns are counted in the frame, as Han et al. 2024 (Infinity) do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

# Axes: n tokens of all grids together.


@dataclass(frozen=True)
class Layout:
    """Grid sizes (rows, columns) from coarse to fine; `frame` is the grid in whose units positions are counted."""

    sizes: tuple[tuple[int, int], ...]
    frame: tuple[int, int] | None = None  # None: the finest grid

    def __post_init__(self):
        object.__setattr__(self, "sizes", tuple((int(h), int(w)) for h, w in self.sizes))
        if not self.sizes:
            raise ValueError("a Layout needs at least one grid, got none")
        if min(min(size) for size in self.sizes) < 1:
            raise ValueError(f"grids need at least one row and one column, got {self.sizes}")
        if self.frame is None:
            object.__setattr__(self, "frame", self.sizes[-1])

    @property
    def counts(self) -> tuple[int, ...]:
        """Tokens of each grid."""
        return tuple(h * w for h, w in self.sizes)

    @property
    def count(self) -> int:
        """Tokens of all grids."""
        return sum(self.counts)

    def part(self, scale: int) -> slice:
        """The slice of the n tokens that belongs to grid `scale` (0 is the coarsest; -1 the finest)."""
        scale = range(len(self.sizes))[scale]
        start = sum(self.counts[:scale])
        return slice(start, start + self.counts[scale])

    def positions(self) -> Float[Tensor, "n 3"]:
        """(scale, y, x) of every token; y and x in units of the frame, from the grid cell's upper left corner."""
        return _positions(self).clone()


def in_proportion(sizes: Sequence[tuple[int, int]], height: int, width: int) -> tuple[tuple[int, int], ...]:
    """The grids scaled alike, so that the last one is height x width: sides are rounded, halves up, and at least 1."""

    def side(length: int, to: int, last: int) -> int:
        return max(1, (2 * length * to + last) // (2 * last))

    rows, columns = sizes[-1]
    return tuple((side(h, height, rows), side(w, width, columns)) for h, w in sizes)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached tensors may be used in training
def _positions(layout: Layout) -> Tensor:
    assert layout.frame is not None
    height, width = layout.frame
    positions = []
    for scale, (h, w) in enumerate(layout.sizes):
        y = torch.arange(h).mul(height / h)
        x = torch.arange(w).mul(width / w)
        positions.append(torch.cartesian_prod(torch.tensor([float(scale)]), y, x).view(-1, 3))
    return torch.cat(positions)
