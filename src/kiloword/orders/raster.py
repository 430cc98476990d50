"""Raster order: one token after the other, row by row or column by column (van den Oord et al. 2016, PixelRNN)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.noise import Noise
from kiloword.orders.order import one_by_one, token_before
from kiloword.tokens import Fed, Layout, Schedule

# Axes: b pictures, n tokens, q tokens picked.


@dataclass(frozen=True)
class RasterConfig:
    """`path` is "rows" or "columns"."""

    path: str = "rows"

    def __post_init__(self):
        if self.path not in ("rows", "columns"):
            raise ValueError(f'a raster goes by "rows" or "columns", got {self.path!r}')

    def build(self) -> "Raster":
        return Raster(self)


class Raster:
    """For layouts of one grid, and for text, which is a grid of one row."""

    causal = True

    def __init__(self, config: RasterConfig = RasterConfig()):
        self.config = config

    def rank(self, layout: Layout) -> Int[Tensor, "n"]:
        """The step of each token."""
        if len(layout.sizes) != 1:
            raise ValueError(f"raster order draws one grid, this layout has {len(layout.sizes)}: use the draft order")
        h, w = layout.sizes[0]
        rank = torch.arange(h * w)
        return rank if self.config.path == "rows" else rank.view(w, h).T.flatten()

    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule:
        """One token a step; `steps` can only be their number, or None."""
        return one_by_one(self.rank(layout), batch)

    def lesson(self, layout: Layout, batch: int, noise: Noise | None) -> Float[Tensor, "b n"]:
        """Every token is to be predicted."""
        return torch.ones(batch, layout.count)

    def feed(
        self, shown: Tensor, level: Float[Tensor, "b n"], pick: Int[Tensor, "b q"], layout: Layout,
        canvas: Callable | None = None,
    ) -> Fed:  # fmt: skip
        return token_before(shown, level, pick, self.rank(layout).to(pick.device))
