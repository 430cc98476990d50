"""Masked order: a random set of tokens a step, few at first and more and more, each picture in its own order.

Chang et al. 2022 (MaskGIT) for the cosine; Li et al. 2024 (MAR) for the random order and the training ratios.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.noise import Noise
from kiloword.orders.order import Order, fed_itself
from kiloword.tokens import Fed, Layout, Schedule

# Axes: b pictures, n tokens, q tokens of them.


@dataclass(frozen=True)
class MaskedConfig:
    """`steps` is the default number of steps a picture.

    In training the masked share is sampled from a normal distribution of mean 1 and standard deviation `deviation`,
    truncated to [`least`, 1].
    """

    steps: int = 64
    least: float = 0.7
    deviation: float = 0.25

    def __post_init__(self):
        if self.steps < 1 or not 0 < self.least < 1 or self.deviation <= 0:
            raise ValueError(f"steps start at 1, the least masked share is in (0, 1), the deviation positive: {self}")

    def build(self) -> "Masked":
        return Masked(self)


class Masked(Order):
    """Masked prediction with full attention: known tokens are fed themselves, unknown ones nothing."""

    def __init__(self, config: MaskedConfig = MaskedConfig()):
        self.config = config

    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule:
        """A random order in `steps` steps, at most one a token; `noise` None: torch's own generator."""
        return in_order(shuffled(layout, batch, noise), steps or self.config.steps)

    def training_schedule(self, layout: Layout, batch: int, noise: Noise | None, done: float = 1.0) -> Schedule:
        """One token a step, so that any number of them can be unknown."""
        return self.schedule(layout, batch, layout.count, noise)

    def training_levels(self, schedule: Schedule, noise: Noise | None) -> Float[Tensor, "b n"]:
        """The levels at which the sampled share is masked: one share for all pictures, rounded up to whole tokens."""
        uniform = torch.rand(()) if noise is None else noise.uniform((), torch.arange(1))[0]
        share = truncated_normal(self.config.least, self.config.deviation, uniform)
        tokens = schedule.start.shape[1]
        return schedule.level(tokens - math.ceil(share * tokens))

    def feed(
        self, shown: Tensor, schedule: Schedule, level: Float[Tensor, "b n"], index: Int[Tensor, "b q"], layout: Layout,
        canvas: Callable | None = None,
    ) -> Fed:  # fmt: skip
        return fed_itself(shown, level, index)


def counts(tokens: int, steps: int) -> list[int]:
    """Tokens that are still unknown after each step: the cosine's share, at least one fewer a step, 0 at the end."""
    left, unknown = [], tokens
    for step in range(1, min(steps, tokens) + 1):
        wanted = math.floor(tokens * math.cos(math.pi / 2 * step / min(steps, tokens)))
        unknown = 0 if step == min(steps, tokens) else max(1, min(unknown - 1, wanted))
        left.append(unknown)
        if unknown == 0:
            break
    return left


def in_order(order: Int[Tensor, "b n"], steps: int) -> Schedule:
    """Tokens in a given order, the last of which becomes known first, as many a step as the cosine says."""
    left = torch.tensor(counts(order.shape[1], steps))
    rank = order.argsort(1)
    start = (rank[..., None] < left).sum(-1).float()
    return Schedule(start, start + 1)


def shuffled(layout: Layout, batch: int, noise: Noise | None) -> Int[Tensor, "b n"]:
    """A random permutation of the tokens for each picture."""
    if noise is None:
        return torch.rand(batch, layout.count).argsort(1)
    return noise.uniform((layout.count,), torch.arange(batch)).argsort(1)


def truncated_normal(least: float, deviation: float, uniform: Float[Tensor, ""]) -> float:
    """The number of the normal distribution around 1, between `least` and 1, that `uniform` in [0, 1) selects."""
    normal = torch.distributions.Normal(1.0, deviation)
    low = float(normal.cdf(torch.tensor(least)))
    return float(normal.icdf(low + (0.5 - low) * uniform).clamp(least, 1.0))
