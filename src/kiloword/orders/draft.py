"""Draft order: a small grid in raster first, then the full one, so that the outline comes early (GLM-Image, 2026)."""

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
class DraftConfig:
    """Nothing to set: the layout says which grids come first."""

    def build(self) -> "Draft":
        return Draft()


class Draft:
    """For layouts of at least two grids."""

    causal, painted = True, False

    def rank(self, layout: Layout) -> Int[Tensor, "n"]:
        """The step of each token."""
        if len(layout.sizes) < 2:
            raise ValueError("draft order needs a layout with a draft; this one has a single grid: use a pyramid")
        return torch.arange(layout.count)

    def seats(self, layout: Layout) -> Int[Tensor, "n"]:
        """Each in its own place."""
        return torch.arange(layout.count)

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
