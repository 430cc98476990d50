"""Schedule: when each token becomes known. Every published way of generating is such a table.

Raster, next-scale and masked orders are steps from 1 to 0; diffusion is a common ramp, groupwise diffusion
(Lee et al. 2023) and rolling diffusion (Ruhe et al. 2024) are ramps that follow each other.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Axes: b pictures, n tokens, s steps.


@dataclass(frozen=True)
class Schedule:
    """Token n of picture b is unknown before step `start` and known from step `stop` on.

    In between its unknown share falls linearly. `start < stop` everywhere, both counted in steps from 0.
    """

    start: Float[Tensor, "b n"]
    stop: Float[Tensor, "b n"]

    def __post_init__(self):
        if self.start.shape != self.stop.shape:
            raise ValueError(f"start {list(self.start.shape)} and stop {list(self.stop.shape)} differ in shape")
        if not bool((self.start < self.stop).all()):
            raise ValueError("every token must start before it stops; some start at or after their stop")

    @property
    def steps(self) -> int:
        """The number of steps after which every token is known."""
        return int(torch.ceil(self.stop.max()).item())

    @cached_property
    def order(self) -> Int[Tensor, "b n"]:
        """The indices of each picture's tokens in the order in which they start; ties in the order of the layout."""
        return self.start.argsort(dim=1, stable=True)

    def to(self, device: torch.device) -> "Schedule":
        """The schedule on a device."""
        return Schedule(self.start.to(device), self.stop.to(device))

    def level(self, step: float | Float[Tensor, "b 1"]) -> Float[Tensor, "b n"]:
        """The unknown share of each token before `step`, one for all pictures or one a picture: 1 is unknown, 0 is
        known."""
        return ((self.stop - step) / (self.stop - self.start)).clamp(0, 1)

    def known(self, step: float) -> Bool[Tensor, "b n"]:
        """Which tokens are fully known before `step`."""
        return self.stop <= step

    def visited(self, step: int) -> Bool[Tensor, "b n"]:
        """Which tokens change during `step`: the ones that the model predicts."""
        return self.level(step) > self.level(step + 1)

    def table(self) -> Float[Tensor, "b s n"]:
        """The whole table of levels: before each step, and after the last one."""
        moments = torch.arange(self.steps + 1).to(self.stop)[:, None]
        start, stop = self.start[:, None], self.stop[:, None]
        return ((stop - moments) / (stop - start)).clamp(0, 1)
