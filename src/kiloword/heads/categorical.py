"""Categorical head: a softmax over all ids (Bengio et al. 2003; van den Oord et al. 2016 for pictures)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kiloword.heads.head import Entrance, Sampling, choose, keep, weigh
from kiloword.noise import Noise
from kiloword.tokens import Categorical, Fed, Layout

# Axes: v views, b pictures, q tokens, w width.


@dataclass(frozen=True)
class CategoricalConfig:
    """`places` is the number of learned places (0: none); `tied` shares the matrix of entrance and exit."""

    space: Categorical
    width: int
    places: int = 0
    tied: bool = False

    def __post_init__(self):
        if not isinstance(self.space, Categorical):
            raise ValueError(f"the categorical head predicts Categorical tokens, got {self.space}")

    def build(self) -> "CategoricalHead":
        return CategoricalHead(self)


class CategoricalHead(nn.Module):
    """An embedding in, a matrix of logits out."""

    def __init__(self, config: CategoricalConfig):
        super().__init__()
        self.space, self.width = config.space, config.width
        self.embedding = nn.Embedding(config.space.size, config.width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.entrance = Entrance(config.width, config.places)
        self.exit = nn.Linear(config.width, config.space.size, bias=False)
        nn.init.normal_(self.exit.weight, std=config.width**-0.5)
        if config.tied:
            self.exit.weight = self.embedding.weight

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], None]:
        return self.entrance(self.embedding(fed.tokens), fed, layout), None

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Int[Tensor, "b q"], memo: None = None, noise: Noise | None = None
    ) -> Float[Tensor, "b q"]:
        logits = self.exit(hidden).float()
        return cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)

    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: None, sampling: Sampling,
        noise: Noise, rows: Int[Tensor, "b"],
    ) -> Int[Tensor, "b q"]:  # fmt: skip
        logits = weigh(self.exit(hidden).float(), weights)
        return choose(logits, sampling, noise.uniform((hidden.shape[2],), rows))

    def log_prob(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], tokens: Int[Tensor, "b q"],
        sampling: Sampling,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        logits = keep(weigh(self.exit(hidden).float(), weights), sampling)
        return torch.log_softmax(logits, -1).gather(-1, tokens[..., None])[..., 0]
