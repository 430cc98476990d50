"""1D raster order: a picture's tokens advance the time coordinate one by one, like those of text, row by row.

So language models treat pictures, as more text: Chameleon Team 2024; Wu et al. 2024 (Liquid).
"""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from kiloword.orders.raster import Raster
from kiloword.tokens import Layout


@dataclass(frozen=True)
class Raster1DConfig:
    """For layouts of one grid."""

    def build(self) -> "Raster1D":
        return Raster1D()


class Raster1D(Raster):
    """Raster order whose positions take a unit of time each, when they are generated and when they are read."""

    def times(self, layout: Layout) -> Int[Tensor, "n"]:
        return self.rank(layout)
