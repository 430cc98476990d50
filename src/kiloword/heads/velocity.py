"""Velocity head: the transformer itself takes the noise out of part-noised tokens, a step of a flow at a time.

Zhou et al. 2024 (Transfusion) for diffusion inside the transformer; flow matching (Lipman et al. 2022; Liu et al.
2022), followed by Euler steps. Each token has a level of its own, as in Ruhe et al. 2024 (rolling diffusion).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kiloword.heads.head import Sampling, weigh
from kiloword.heads.level import AddedLevelConfig, Level, ModulatingLevelConfig
from kiloword.heads.linear_patches import LinearPatchesConfig, Patches
from kiloword.heads.unet_patches import UNetPatchesConfig
from kiloword.noise import Noise, euler
from kiloword.tokens import Fed, Layout, Vector

# Axes: v views, b pictures, q tokens, w width, c numbers of a token.

LEAST = 1e-3  # level below which errors of the velocity do not count more, for rounding would


@dataclass(frozen=True)
class VelocityConfig:
    """How tokens become rows and back, and how the blocks are told their levels."""

    space: Vector
    width: int
    patches: LinearPatchesConfig | UNetPatchesConfig = LinearPatchesConfig()
    level: AddedLevelConfig | ModulatingLevelConfig = AddedLevelConfig()

    def __post_init__(self):
        if not isinstance(self.space, Vector):
            raise ValueError(f"the velocity head predicts Vector tokens, got {self.space}")
        if self.width < 1:
            raise ValueError(f"the width must be at least 1, got {self.width}")

    def build(self) -> "VelocityHead":
        return VelocityHead(self)


@dataclass(frozen=True)
class Memo:
    """What the tokens were on the way in, their levels, and what the patches want again."""

    noised: Float[Tensor, "b q c"]
    level: Float[Tensor, "b q"]
    to: Float[Tensor, "b q"] | None
    told: Float[Tensor, "b q w"]
    skips: Any
    layout: Layout


class VelocityHead(nn.Module):
    """What tokens and levels become is what loss and sampling are reminded of."""

    canvas = 0

    def __init__(self, config: VelocityConfig):
        super().__init__()
        self.space, self.width = config.space, config.width
        self.level, self.telling = Level(config.width), config.level.build()
        self.modulates = self.telling.modulates
        self.patches: Patches = config.patches.build(config.space.dim, config.width)

    @property
    def whole(self) -> bool:
        return self.patches.whole

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], Memo]:
        told = self.level(fed.level)
        vectors, skips = self.patches.enter(fed.tokens, told, layout)
        added, _ = self.telling(told)
        memo = Memo(fed.tokens, fed.level, fed.to, told, skips, layout)
        return vectors if added is None else vectors + added, memo

    def modulation(self, fed: Fed) -> Float[Tensor, "b q w"] | None:
        return self.telling(self.level(fed.level))[1]

    def velocity(self, hidden: Float[Tensor, "v b q w"], memo: Memo) -> Float[Tensor, "v b q c"]:
        """From the clean token to noise, as each view sees it."""
        return self.patches.leave(hidden, memo.skips, memo.told, memo.layout).float()

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Float[Tensor, "b q c"], memo: Memo, noise: Noise | None = None
    ) -> Float[Tensor, "b q"]:
        """The squared error of the velocity that leads from the target to the noised token, a mean over its numbers."""
        true = (memo.noised - target.float()) / memo.level.clamp(min=LEAST)[..., None]
        return (self.velocity(hidden[None], memo)[0] - true).square().mean(-1)

    @torch.no_grad()
    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: Memo, sampling: Sampling,
        noise: Noise, rows: Int[Tensor, "b"],
    ) -> Float[Tensor, "b q c"]:  # fmt: skip
        """The tokens one Euler step further, at the level that they were to come to; views' velocities are weighed."""
        assert memo.to is not None, "a step leads to some level"
        velocity = weigh(self.velocity(hidden, memo), weights)
        return euler(memo.noised, velocity, memo.level[..., None], memo.to[..., None])
