"""Next-scale order: one grid a step, coarse to fine, all tokens of a grid at once (Tian et al. 2024, VAR)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.noise import Noise
from kiloword.orders.order import Ranked
from kiloword.tokens import Fed, Layout, Schedule

# Axes: b pictures, n tokens of all grids, q tokens of them.


@dataclass(frozen=True)
class NextScaleConfig:
    """Nothing to set: the layout says which grids there are."""

    def build(self) -> "NextScale":
        return NextScale()


class NextScale(Ranked):
    """One grid a step; every grid is fed the canvas of those before it, the first one nothing."""

    feeds_canvas = True

    def rank(self, layout: Layout) -> Int[Tensor, "n"]:
        """The step of each token: the number of its grid."""
        return torch.repeat_interleave(torch.arange(len(layout.sizes)), torch.tensor(layout.counts))

    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule:
        """One grid a step; `steps` can only be their number, or None."""
        if steps not in (None, len(layout.sizes)):
            raise ValueError(f"next-scale order takes one step a grid, {len(layout.sizes)} here, not {steps}")
        return super().schedule(layout, batch, steps, noise)

    def feed(
        self, shown: Tensor, schedule: Schedule, level: Float[Tensor, "b n"], index: Int[Tensor, "b q"], layout: Layout,
        canvas: Callable[[Tensor, int], Tensor] | None = None,
    ) -> Fed:  # fmt: skip
        """The canvas at each token's grid cell; the tokens of `index` are the same in all pictures. Raises ValueError
        without a canvas."""
        if canvas is None:
            raise ValueError("next-scale order feeds the canvas of coarser grids, and no canvas is there")
        rank = schedule.start[0].long()
        targets = index[0].tolist()
        cells = []
        for scale in rank[index[0]].unique().tolist():
            part = layout.part(scale)
            cell = [target - part.start for target in targets if part.start <= target < part.stop]
            latents = rearrange(canvas(shown, scale), "b c s t -> b (s t) c")
            cells.append(latents if len(cell) == latents.shape[1] else latents[:, cell])
        pictures = torch.arange(len(index), device=index.device)[:, None]
        return Fed(torch.cat(cells, dim=1), rank[index] > 0, level[pictures, index], index)
