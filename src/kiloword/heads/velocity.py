"""Velocity head: the transformer itself denoises part-noised tokens, one step of flow matching at a time.

Zhou et al. 2024 (Transfusion) for diffusion inside the transformer; flow matching (Lipman et al. 2022; Liu et al.
2022), followed by Euler steps. Each token has a level of its own, as in Ruhe et al. 2024 (rolling diffusion).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kiloword.heads.head import Head, Sampling, combine_views, memo_at
from kiloword.heads.level import AddedLevelConfig, Level, ModulatingLevelConfig
from kiloword.heads.linear_patches import LinearPatchesConfig, Patches
from kiloword.heads.unet_patches import UNetPatchesConfig
from kiloword.noise import Noise, euler
from kiloword.tokens import Fed, Layout, Vector

# Axes: v views, b pictures, q tokens, w width, c numbers of a token.

LEAST = 1e-3  # level below which errors of the velocity have no more weight, for rounding errors would


@dataclass(frozen=True)
class VelocityConfig:
    """`patches` embed tokens and map hidden vectors back; `level` conditions the blocks on the tokens' levels."""

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
    """The noised tokens, their levels and the embeddings of these, and what the patches need again at the output."""

    noised: Float[Tensor, "b q c"]
    level: Float[Tensor, "b q"]
    to: Float[Tensor, "b q"] | None
    level_vector: Float[Tensor, "b q w"]
    skips: Any
    layout: Layout

    def at(self, index: Int[Tensor, "b q"]) -> "Memo":
        """The memo of the tokens of `index`; of all where tokens enter and leave together."""
        if self.skips is not None:
            assert index.shape == self.level.shape, "all tokens leave together"
            return self
        parts = (self.noised, self.level, self.to, self.level_vector)
        noised, level, to, level_vector = (memo_at(part, index) for part in parts)
        return Memo(noised, level, to, level_vector, None, self.layout)


class VelocityHead(Head, nn.Module):
    """Flow matching with a level for each token; the memo has the noised tokens and their levels."""

    denoising = True

    def __init__(self, config: VelocityConfig):
        super().__init__()
        self.space, self.width = config.space, config.width
        self.level, self.injection = Level(config.width), config.level.build()
        self.modulates = self.injection.modulates
        self.patches: Patches = config.patches.build(config.space.dim, config.width)
        self.whole = self.patches.whole

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], Memo]:
        level_vector = self.level(fed.level)
        vectors, skips = self.patches.enter(fed.tokens, level_vector, layout)
        added, _ = self.injection(level_vector)
        memo = Memo(fed.tokens, fed.level, fed.to, level_vector, skips, layout)
        return vectors if added is None else vectors + added, memo

    def modulation(self, fed: Fed) -> Float[Tensor, "b q w"] | None:
        return self.injection(self.level(fed.level))[1]

    def velocity(self, hidden: Float[Tensor, "v b q w"], memo: Memo) -> Float[Tensor, "v b q c"]:
        """The velocity from the clean token to noise that each view predicts."""
        return self.patches.leave(hidden, memo.skips, memo.level_vector, memo.layout).float()

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Float[Tensor, "b q c"], memo: Memo, noise: Noise | None = None
    ) -> Float[Tensor, "b q"]:
        """The squared error of the velocity from the target to the noised token, a mean over its numbers."""
        true = (memo.noised - target.float()) / memo.level.clamp(min=LEAST)[..., None]
        return (self.velocity(hidden[None], memo)[0] - true).square().mean(-1)

    @torch.no_grad()
    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: Memo, sampling: Sampling,
        noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Float[Tensor, "b q c"]:  # fmt: skip
        """The tokens one Euler step further, at the level `memo.to`, by the velocity combined over the views."""
        assert memo.to is not None, "a step leads to some level"
        velocity = combine_views(self.velocity(hidden, memo), weights)
        return euler(memo.noised, velocity, memo.level[..., None], memo.to[..., None])
