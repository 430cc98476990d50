"""Random order: one token after the other in a permutation of each picture, annealed to raster in training.

Yu et al. 2024 (Randomized Autoregressive Visual Generation, RAR): the share of permuted pictures
falls from 1 to 0 between two moments of a training, so that the final model generates in raster order. A position knows
which token it predicts, as it has that token's coordinates (their target-aware embedding).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from kiloword.noise import Noise
from kiloword.orders.order import OneByOne, position_of_fed
from kiloword.tokens import Layout, Schedule

# Axes: b pictures, n tokens.


@dataclass(frozen=True)
class RandomConfig:
    """Up to the share `start` of a training all pictures are in a random order, from the share `stop` on `last` of them
    (0: all in raster; 1: random throughout, as in RandAR, Pang et al. 2024). Drawing is like the end of a training.

    `position_of`: a position has the coordinates of the token it predicts ("target"), or of the one it is "fed".
    """

    start: float = 0.5
    stop: float = 0.75
    last: float = 0.0
    position_of: str = "target"

    def __post_init__(self):
        if not 0 <= self.start <= self.stop <= 1 or not 0 <= self.last <= 1:
            raise ValueError(f"0 <= start <= stop <= 1 and 0 <= last <= 1, got {self.start}, {self.stop}, {self.last}")
        if self.position_of not in ("target", "fed"):
            raise ValueError(f'a position is that of the "target" or of the token "fed", got {self.position_of!r}')

    def share(self, done: float) -> float:
        """The share of pictures that are permuted after the share `done` of a training (RAR, eq. 5)."""
        if done >= self.stop:
            return self.last
        return 1.0 if done <= self.start else 1 - (1 - self.last) * (done - self.start) / (self.stop - self.start)

    def build(self) -> "Random":
        return Random(self)


class Random(OneByOne):
    """One token after the other in a permutation of each picture, for layouts of one grid."""

    def __init__(self, config: RandomConfig = RandomConfig()):
        self.config = config

    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule:
        """As at the end of a training; `steps` can only be the number of tokens, or None."""
        if steps not in (None, layout.count):
            raise ValueError(f"random order takes one step a token, {layout.count} here, not {steps}")
        return self.training_schedule(layout, batch, noise, done=1.0)

    def training_schedule(self, layout: Layout, batch: int, noise: Noise | None, done: float = 1.0) -> Schedule:
        """Each picture in an order of its own, or in raster: its first number of `noise` decides."""
        if len(layout.sizes) != 1:
            raise ValueError(f"random order draws one grid, this layout has {len(layout.sizes)}")
        shape = (1 + layout.count,)
        drawn = torch.rand(batch, *shape) if noise is None else noise.uniform(shape, torch.arange(batch))
        rank: Int[Tensor, "b n"] = drawn[:, 1:].argsort(1).argsort(1)
        start = torch.where(drawn[:, :1] < self.config.share(done), rank, torch.arange(layout.count)).float()
        return Schedule(start, start + 1)

    def row_positions(self, schedule: Schedule, layout: Layout) -> Int[Tensor, "b n"]:
        """The token that each position predicts, or the one before, which it is fed."""
        fed = self.config.position_of == "fed"
        return position_of_fed(schedule) if fed else super().row_positions(schedule, layout)
