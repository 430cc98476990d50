"""Categorical head: a softmax over all ids (Bengio et al. 2003; van den Oord et al. 2016 for pictures)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kiloword.heads.entrance import BareEntranceConfig, LearnedEntranceConfig, PositionEntranceConfig
from kiloword.heads.head import Head, Sampling, combine_views, filter_logits, gumbel_softmax, sample_from
from kiloword.noise import Noise
from kiloword.tokens import Categorical, Fed, Layout

# Axes: v views, b pictures, q tokens, w width.


@dataclass(frozen=True)
class CategoricalConfig:
    """`positions`: how many position embeddings are learned (0: none), unless another `entrance` is named.

    `tied` shares the weights of embedding and output. `canvas`: positions are fed the canvas decoded so far, of this
    many channels, in place of tokens (0). `bias` is that of the output projection.
    """

    space: Categorical
    width: int
    positions: int = 0
    tied: bool = False
    entrance: BareEntranceConfig | PositionEntranceConfig | None = None
    canvas: int = 0
    bias: bool = False

    def __post_init__(self):
        if not isinstance(self.space, Categorical):
            raise ValueError(f"the categorical head predicts Categorical tokens, got {self.space}")
        if self.tied and self.canvas:
            raise ValueError("a head that is fed a canvas has no token embedding that the output could be tied to")

    def build(self) -> "CategoricalHead":
        return CategoricalHead(self)


class CategoricalHead(Head, nn.Module):
    """A token embedding (or a projection of the canvas) and a linear output over the vocabulary."""

    has_density = True

    def __init__(self, config: CategoricalConfig):
        super().__init__()
        self.space, self.width = config.space, config.width
        self.canvas = canvas = config.canvas
        self.embedding = nn.Linear(canvas, config.width) if canvas else nn.Embedding(config.space.size, config.width)
        nn.init.normal_(self.embedding.weight, std=canvas**-0.5 if canvas else 0.02)
        self.entrance = (config.entrance or LearnedEntranceConfig(config.positions)).build(config.width)
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
        noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Tensor:  # fmt: skip
        """Ids [b, q], or distributions over them [b, q, k] if the sampling is soft."""
        logits = combine_views(self.output(hidden).float(), weights)
        if sampling.soft is not None:
            uniform = noise.uniform(logits.shape[1:], pictures)
            return gumbel_softmax(filter_logits(logits, sampling), sampling.soft, uniform)
        return sample_from(logits, sampling, noise.uniform((hidden.shape[2],), pictures))

    def log_prob(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], tokens: Int[Tensor, "b q"],
        sampling: Sampling,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        logits = filter_logits(combine_views(self.output(hidden).float(), weights), sampling)
        return torch.log_softmax(logits, -1).gather(-1, tokens[..., None])[..., 0]
