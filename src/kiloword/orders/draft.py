"""Draft order: a small grid in raster first, then the full one, so that the outline comes early (GLM-Image, 2026)."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from kiloword.orders.order import OneByOne, Ranked
from kiloword.tokens import Layout

# Axes: n tokens.


@dataclass(frozen=True)
class DraftConfig:
    """Nothing to set: the layout says which grids come first."""

    def build(self) -> "Draft":
        return Draft()


class Draft(OneByOne, Ranked):
    """One token after the other, grid by grid, for layouts of at least two grids."""

    def rank(self, layout: Layout) -> Int[Tensor, "n"]:
        """The step of each token."""
        if len(layout.sizes) < 2:
            raise ValueError("draft order needs a layout with a draft; this one has a single grid: use a pyramid")
        return torch.arange(layout.count)
