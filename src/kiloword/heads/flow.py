"""Flow matching: the network predicts the velocity from the clean token to noise; Euler steps integrate it.

Lipman et al. 2022; Liu et al. 2022 (rectified flow); logit-normal levels of Esser et al. 2024 (Stable Diffusion 3).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kiloword.noise import euler, mix, velocity

# Axes: c numbers of a token, * any axes before it or none.

TIMES = 1000  # the network is conditioned on the level times this, embedded by `waves`

Predict = Callable[[Tensor, Tensor], Tensor]  # (noised tokens, their times) -> the network's outputs


@dataclass(frozen=True)
class FlowConfig:
    """`steps` Euler steps in sampling; the levels in training are uniform or, for more in the middle, logit-normal."""

    steps: int = 50
    levels: Literal["uniform", "logit-normal"] = "uniform"

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"a flow is followed in at least 1 step, got {self.steps}")
        if self.levels not in ("uniform", "logit-normal"):
            raise ValueError(f"levels are uniform or logit-normal, got {self.levels!r}")

    def build(self) -> "Flow":
        return Flow(self)


def logit_normal(uniform: Float[Tensor, "*t"]) -> Float[Tensor, "*t"]:
    """The sigmoid of the normal number that `uniform` selects (Esser et al. 2024, eq. 19 with mean 0, scale 1)."""
    centred = (2 * uniform - 1).clamp(-1 + 1e-6, 1 - 1e-6)
    return torch.sigmoid(math.sqrt(2) * torch.erfinv(centred))


class Flow:
    """Straight lines between tokens and noise; the network predicts the velocity."""

    outputs = 1

    def __init__(self, config: FlowConfig):
        self.config = config

    def loss(
        self, predict: Predict, clean: Float[Tensor, "*t c"], uniform: Float[Tensor, "*t"], noise: Float[Tensor, "*t c"]
    ) -> Float[Tensor, "*t"]:
        """The squared error of the velocity, a mean over a token's numbers, at the levels that `uniform` selects."""
        level = (uniform if self.config.levels == "uniform" else logit_normal(uniform)).to(clean.dtype)
        predicted = predict(mix(clean, noise, level[..., None]), TIMES * level)
        return (velocity(clean, noise) - predicted).square().mean(-1)

    def sample(
        self, predict: Predict, draw: Callable[[], Float[Tensor, "*t c"]], temperature: float
    ) -> Float[Tensor, "*t c"]:
        """A sample from one normal `draw`, scaled by `temperature`; the steps add no noise."""
        x = draw() * temperature
        levels = torch.linspace(1, 0, self.config.steps + 1, device=x.device)
        for level, to in pairwise(levels):
            x = euler(x, predict(x, TIMES * level), level, to)
        return x
