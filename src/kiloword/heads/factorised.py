"""Factorised head: a token that is a tuple of small codes is predicted code by code.

Larochelle and Murray 2011 (NADE): one hidden layer a factor, conditioned on the factors before it by a masked
matrix. A flat softmax over 12,800 codes would be half of a small transformer; this one has a few logits a factor.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import silu

from kiloword.heads.entrance import LearnedEntrance
from kiloword.heads.head import Head, Sampling, combine_views, log_prob_of_codes, loss_of_codes, sample_from
from kiloword.noise import Noise
from kiloword.tokens import Codes, Fed, Layout

# Axes: v views, b pictures, q tokens, w width, f factors, u hidden units of a factor, k values of a factor (padded), s
# of all factors together.

NEVER = -1e4  # a logit whose probability is 0 in every number format, and stays so in a weighted sum of views


@dataclass(frozen=True)
class FactorisedConfig:
    """`units` hidden units for each factor; `positions` learned position embeddings (0: none)."""

    space: Codes
    width: int
    units: int = 32
    positions: int = 0

    def __post_init__(self):
        if not isinstance(self.space, Codes):
            raise ValueError(f"the factorised head predicts Codes, got {self.space}")

    def build(self) -> "FactorisedHead":
        return FactorisedHead(self)


class FactorisedHead(Head, nn.Module):
    """log p(token) is the sum over factors of log p(factor | hidden, factors before it)."""

    offsets: Tensor
    earlier: Tensor
    legal: Tensor
    has_density = True
    space: Codes

    def __init__(self, config: FactorisedConfig):
        super().__init__()
        self.config, self.space, self.width = config, config.space, config.width
        sizes, units, factors = config.space.sizes, config.units, len(config.space.sizes)
        offsets = torch.tensor([sum(sizes[:f]) for f in range(factors)])
        owner = torch.repeat_interleave(torch.arange(factors), torch.tensor(sizes), output_size=sum(sizes))
        self.register_buffer("offsets", offsets, persistent=False)
        earlier = (owner[:, None] < torch.arange(factors)[None]).repeat_interleave(units, dim=1)
        self.register_buffer("earlier", earlier, persistent=False)
        legal = torch.arange(max(sizes))[None] < torch.tensor(sizes)[:, None]
        self.register_buffer("legal", legal, persistent=False)
        self.embedding = nn.Parameter(torch.empty(sum(sizes), config.width))
        nn.init.normal_(self.embedding, std=0.5 * factors**-0.5)
        self.entrance = LearnedEntrance(config.width, config.positions)
        self.hidden = nn.Linear(config.width, factors * units)
        self.before = nn.Parameter(torch.zeros(sum(sizes), factors * units))
        self.output = nn.Parameter(torch.empty(factors, units, max(sizes)))
        nn.init.normal_(self.output, std=units**-0.5)
        self.bias = nn.Parameter(torch.zeros(factors, max(sizes)))

    def _one_hot(self, tokens: Int[Tensor, "b q f"]) -> Float[Tensor, "b q s"]:
        """The concatenated one-hot vectors of all factors, s values."""
        ids = (tokens + self.offsets).flatten(0, 1)
        one_hot = torch.zeros(len(ids), len(self.embedding), device=tokens.device)
        return one_hot.scatter_(1, ids, 1.0).view(*tokens.shape[:2], len(self.embedding))

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], None]:
        return self.entrance(self._one_hot(fed.tokens) @ self.embedding, fed, layout), None

    def logits(self, hidden: Float[Tensor, "*b q w"], tokens: Int[Tensor, "b q f"]) -> Float[Tensor, "*b q f k"]:
        """Logits of every factor given the true factors before it (teacher forcing)."""
        earlier = self._one_hot(tokens) @ (self.before * self.earlier)
        units = silu(self.hidden(hidden) + earlier).unflatten(-1, (-1, self.config.units))
        logits = torch.einsum("...fu,fuk->...fk", units, self.output.to(units.dtype)).float() + self.bias
        return logits.masked_fill(~self.legal, -math.inf)

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Int[Tensor, "b q f"], memo: None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        return loss_of_codes(self.logits(hidden, target), target)

    @torch.no_grad()
    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: None, sampling: Sampling,
        noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Int[Tensor, "b q f"]:  # fmt: skip
        sizes = self.space.sizes
        uniform = noise.uniform((hidden.shape[2], len(sizes)), pictures).to(hidden.device)
        units = self.hidden(hidden)  # a sampled factor is added to all units: those before it are done already
        each, earlier = units.split(self.config.units, dim=-1), self.before.split(sizes)
        bias = self.bias.masked_fill(~self.legal, NEVER)
        tokens = []
        for part, matrix, b, before, u in zip(each, self.output, bias, earlier, uniform.unbind(-1), strict=True):
            logits = combine_views((silu(part) @ matrix + b).float(), weights)
            tokens.append(sample_from(logits, sampling, u))
            units += before[tokens[-1]]
        return torch.stack(tokens, dim=-1)

    def log_prob(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], tokens: Int[Tensor, "b q f"],
        sampling: Sampling,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        return log_prob_of_codes(self.logits(hidden, tokens), weights, tokens, self.space.sizes, sampling)
