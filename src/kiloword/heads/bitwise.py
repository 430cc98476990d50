"""Bitwise head: every bit of a token is predicted on its own, with two logits each, however large the vocabulary they
make up.

Han et al. 2024 (Infinity: the infinite-vocabulary classifier): 2 d logits in place of 2^d.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kiloword.heads.entrance import (
    BareEntranceConfig,
    LearnedEntranceConfig,
    PositionEntranceConfig,
    ScaleEntranceConfig,
)
from kiloword.heads.head import Head, Sampling, combine_views, filter_logits, sample_from
from kiloword.noise import Noise
from kiloword.tokens import Bits, Fed, Layout

# Axes: v views, b pictures, q tokens, w width, d bits of a token.


@dataclass(frozen=True)
class BitwiseConfig:
    """`positions`: how many position embeddings are learned (0: none), unless another `entrance` is named.

    `canvas`: positions are fed the canvas decoded so far, of this many channels, in place of tokens (0).
    """

    space: Bits
    width: int
    positions: int = 0
    entrance: BareEntranceConfig | PositionEntranceConfig | ScaleEntranceConfig | None = None
    canvas: int = 0

    def __post_init__(self):
        if not isinstance(self.space, Bits):
            raise ValueError(f"the bitwise head predicts Bits, got {self.space}")

    def build(self) -> "BitwiseHead":
        return BitwiseHead(self)


class BitwiseHead(Head, nn.Module):
    """A linear embedding of signs (or of the canvas) and a linear output. The bits of a token are sampled
    independently."""

    has_density = True

    def __init__(self, config: BitwiseConfig):
        super().__init__()
        self.config, self.space, self.width, self.canvas = config, config.space, config.width, config.canvas
        self.embedding = nn.Linear(config.canvas or config.space.dim, config.width)
        nn.init.normal_(self.embedding.weight, std=self.embedding.in_features**-0.5)
        self.entrance = (config.entrance or LearnedEntranceConfig(config.positions)).build(config.width)
        self.output = nn.Linear(config.width, 2 * config.space.dim)
        nn.init.normal_(self.output.weight, std=config.width**-0.5)

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], None]:
        """Embeddings of bits as -1 and 1, of unknown ones (0.5) as 0."""
        tokens = fed.tokens if self.canvas else 2.0 * fed.tokens - 1
        return self.entrance(self.embedding(tokens.to(self.embedding.weight.dtype)), fed, layout), None

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Int[Tensor, "b q d"], memo: None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        """Cross-entropy in nats, summed over the bits of a token (Infinity takes the mean)."""
        logits = self.output(hidden).float().unflatten(-1, (-1, 2))
        return cross_entropy(logits.flatten(0, 2), target.flatten(), reduction="none").view(target.shape).sum(-1)

    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: None, sampling: Sampling,
        noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Int[Tensor, "b q d"]:  # fmt: skip
        """Temperature, top-k and top-p apply to each bit: top-p leaves out a value whose probability is below 1 - p."""
        if sampling.soft is not None:
            raise ValueError("bits are 0 or 1: this head samples no soft tokens")
        logits = self.logits(hidden, weights)
        return sample_from(logits, sampling, noise.uniform(tuple(logits.shape[1:3]), pictures))

    def logits(self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"]) -> Float[Tensor, "b q d 2"]:
        """Logits of each bit's two values, combined over the views."""
        return combine_views(self.output(hidden).float(), weights).unflatten(-1, (-1, 2))

    def log_prob(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], tokens: Int[Tensor, "b q d"],
        sampling: Sampling,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        logits = torch.log_softmax(filter_logits(self.logits(hidden, weights), sampling), -1)
        return logits.gather(-1, tokens[..., None])[..., 0].sum(-1)
