"""Spelled order: a picture's tokens follow each other in time like the letters of a word, row by row.

Language models draw so, to whom a picture is more text: Chameleon Team 2024; Wu et al. 2024 (Liquid).
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from kiloword.noise import Noise
from kiloword.orders.raster import Raster
from kiloword.tokens import Fed, Layout, Schedule

# Axes: b pictures, n tokens, q tokens picked.


@dataclass(frozen=True)
class SpelledConfig:
    """For layouts of one grid."""

    def build(self) -> "Spelled":
        return Spelled()


class Spelled:
    """Raster order whose rows take a unit of time each, when they are drawn and when they are read."""

    causal, painted = True, False

    def __init__(self):
        self.raster = Raster()

    def rank(self, layout: Layout) -> Int[Tensor, "n"]:
        """The step of each token."""
        return self.raster.rank(layout)

    def moments(self, layout: Layout) -> Int[Tensor, "n"]:
        return self.rank(layout)

    def seats(self, layout: Layout) -> Int[Tensor, "n"]:
        return self.raster.seats(layout)

    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule:
        return self.raster.schedule(layout, batch, steps, noise)

    def lesson(self, layout: Layout, batch: int, noise: Noise | None) -> Float[Tensor, "b n"]:
        return self.raster.lesson(layout, batch, noise)

    def feed(
        self, shown: Tensor, level: Float[Tensor, "b n"], pick: Int[Tensor, "b q"], layout: Layout,
        canvas: Callable | None = None,
    ) -> Fed:  # fmt: skip
        return self.raster.feed(shown, level, pick, layout, canvas)
