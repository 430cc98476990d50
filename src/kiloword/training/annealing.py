"""Annealing: a temperature that falls along half a cosine, and stays where it has come to.

Ramesh et al. 2021 (DALL-E), appendix A.2: from 1 to 1/16.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Annealing:
    """From `start` to `stop`, which is reached after the first `share` of a training."""

    start: float = 1.0
    stop: float = 1 / 16
    share: float = 0.7

    def __post_init__(self):
        if min(self.start, self.stop) <= 0 or not 0 < self.share <= 1:
            raise ValueError(f"temperatures are above 0 and the share in (0, 1], got {self}")

    def at(self, done: float) -> float:
        """The temperature after that share of a training."""
        return self.stop + (self.start - self.stop) * (1 + math.cos(math.pi * min(1.0, done / self.share))) / 2
