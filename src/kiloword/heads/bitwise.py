"""Bitwise head: every bit of a token by itself, with two logits each, however large the vocabulary they make up.

Han et al. 2024 (Infinity: the infinite-vocabulary classifier): 2 d logits in place of 2^d.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kiloword.heads.entrance import BareEntranceConfig, LearnedEntranceConfig, ScaleEntranceConfig, SeatedEntranceConfig
from kiloword.heads.head import Sampling, choose, keep, weigh
from kiloword.noise import Noise
from kiloword.tokens import Bits, Fed, Layout

# Axes: v views, b pictures, q tokens, w width, d bits of a token.


@dataclass(frozen=True)
class BitwiseConfig:
    """`places` is the number of learned places (0: none), unless another `entrance` is named.

    With a `canvas` of so many channels rows are fed what has been painted so far, not tokens.
    """

    space: Bits
    width: int
    places: int = 0
    entrance: BareEntranceConfig | SeatedEntranceConfig | ScaleEntranceConfig | None = None
    canvas: int = 0

    def __post_init__(self):
        if not isinstance(self.space, Bits):
            raise ValueError(f"the bitwise head predicts Bits, got {self.space}")

    def build(self) -> "BitwiseHead":
        return BitwiseHead(self)


class BitwiseHead(nn.Module):
    """A matrix in, of signs or of the canvas, and a matrix out. Bits of one token are drawn without one another."""

    def __init__(self, config: BitwiseConfig):
        super().__init__()
        self.config, self.space, self.width, self.canvas = config, config.space, config.width, config.canvas
        self.embedding = nn.Linear(config.canvas or config.space.dim, config.width)
        nn.init.normal_(self.embedding.weight, std=self.embedding.in_features**-0.5)
        self.entrance = (config.entrance or LearnedEntranceConfig(config.places)).build(config.width)
        self.output = nn.Linear(config.width, 2 * config.space.dim)
        nn.init.normal_(self.output.weight, std=config.width**-0.5)

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], None]:
        """Bits come in as -1 and 1, and as 0 where it is not known which."""
        tokens = fed.tokens if self.canvas else 2.0 * fed.tokens - 1
        return self.entrance(self.embedding(tokens.to(self.embedding.weight.dtype)), fed, layout), None

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Int[Tensor, "b q d"], memo: None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        """The sum over bits, as of every token; Infinity counts their mean."""
        logits = self.output(hidden).float().unflatten(-1, (-1, 2))
        return cross_entropy(logits.flatten(0, 2), target.flatten(), reduction="none").view(target.shape).sum(-1)

    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: None, sampling: Sampling,
        noise: Noise, rows: Int[Tensor, "b"],
    ) -> Int[Tensor, "b q d"]:  # fmt: skip
        """Temperature, top-k and top-p are those of each bit: top-p leaves out a value less likely than 1 - p."""
        if sampling.soft is not None:
            raise ValueError("bits are 0 or 1: this head makes no soft choices")
        logits = self.logits(hidden, weights)
        return choose(logits, sampling, noise.uniform(tuple(logits.shape[1:3]), rows))

    def logits(self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"]) -> Float[Tensor, "b q d 2"]:
        """Those of each bit's two values, the views weighted."""
        return weigh(self.output(hidden).float(), weights).unflatten(-1, (-1, 2))

    def log_prob(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], tokens: Int[Tensor, "b q d"],
        sampling: Sampling,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        logits = torch.log_softmax(keep(self.logits(hidden, weights), sampling), -1)
        return logits.gather(-1, tokens[..., None])[..., 0].sum(-1)
