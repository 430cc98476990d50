"""Categorical head: a softmax over all ids (Bengio et al. 2003; van den Oord et al. 2016 for pictures)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kiloword.heads.entrance import BareEntranceConfig, LearnedEntranceConfig, SeatedEntranceConfig
from kiloword.heads.head import Sampling, choose, keep, soften, weigh
from kiloword.noise import Noise
from kiloword.tokens import Categorical, Fed, Layout

# Axes: v views, b pictures, q tokens, w width.


@dataclass(frozen=True)
class CategoricalConfig:
    """`places` is the number of learned places (0: none), unless another `entrance` is named.

    `tied` shares the matrix of embedding and output. With a `canvas` of so many channels rows are fed what has been
    painted so far, not tokens. `bias` is the output's.
    """

    space: Categorical
    width: int
    places: int = 0
    tied: bool = False
    entrance: BareEntranceConfig | SeatedEntranceConfig | None = None
    canvas: int = 0
    bias: bool = False

    def __post_init__(self):
        if not isinstance(self.space, Categorical):
            raise ValueError(f"the categorical head predicts Categorical tokens, got {self.space}")
        if self.tied and self.canvas:
            raise ValueError("a head that is fed a canvas has no matrix of tokens at its entrance to be tied")

    def build(self) -> "CategoricalHead":
        return CategoricalHead(self)


class CategoricalHead(nn.Module):
    """An embedding in (or a projection of the canvas), a matrix of logits out."""

    def __init__(self, config: CategoricalConfig):
        super().__init__()
        self.space, self.width = config.space, config.width
        self.canvas = canvas = config.canvas
        self.embedding = nn.Linear(canvas, config.width) if canvas else nn.Embedding(config.space.size, config.width)
        nn.init.normal_(self.embedding.weight, std=canvas**-0.5 if canvas else 0.02)
        self.entrance = (config.entrance or LearnedEntranceConfig(config.places)).build(config.width)
        self.output = nn.Linear(config.width, config.space.size, bias=config.bias)
        nn.init.normal_(self.output.weight, std=config.width**-0.5)
        if config.tied:
            self.output.weight = self.embedding.weight

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], None]:
        return self.entrance(self.embedding(fed.tokens), fed, layout), None

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Int[Tensor, "b q"], memo: None = None, noise: Noise | None = None
    ) -> Float[Tensor, "b q"]:
        logits = self.output(hidden).float()
        return cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)

    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: None, sampling: Sampling,
        noise: Noise, rows: Int[Tensor, "b"],
    ) -> Tensor:  # fmt: skip
        """Ids [b, q], or distributions over them [b, q, k] if the sampling is soft."""
        logits = weigh(self.output(hidden).float(), weights)
        if sampling.soft is not None:
            return soften(keep(logits, sampling), sampling.soft, noise.uniform(logits.shape[1:], rows))
        return choose(logits, sampling, noise.uniform((hidden.shape[2],), rows))

    def log_prob(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], tokens: Int[Tensor, "b q"],
        sampling: Sampling,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        logits = keep(weigh(self.output(hidden).float(), weights), sampling)
        return torch.log_softmax(logits, -1).gather(-1, tokens[..., None])[..., 0]
