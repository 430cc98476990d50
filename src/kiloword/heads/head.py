"""The law of heads, and how logits are turned into one choice.

Temperature; top-k (Fan et al. 2018); nucleus sampling (Holtzman et al. 2019); guidance on logits as a weighted sum of
views (Ho and Salimans 2022).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from kiloword.noise import Noise, pick
from kiloword.tokens import Fed, Layout, TokenSpace

# Axes: v views, b pictures, q tokens, w width, k values, or codes of c values each.


@dataclass(frozen=True)
class Soft:
    """A distribution in place of a choice: softmax((logits * gain + Gumbel noise) / temperature).

    Gumbel-softmax (Jang et al. 2016) as VAR's "more smooth" uses it to draw (Tian et al. 2024).
    """

    temperature: float
    gain: float = 1.0

    def __post_init__(self):
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"a soft choice needs a finite temperature above 0, got {self.temperature}")


@dataclass(frozen=True)
class Sampling:
    """How a value is chosen: temperature 0 takes the likeliest; top_k 0 and top_p 1 leave nothing out.

    `soft` choices are for tokenizers that paint with distributions over their codes.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    soft: Soft | None = None

    def __post_init__(self):
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be a finite number of at least 0, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")


@runtime_checkable
class HeadConfig(Protocol):
    """The settings of a head."""

    def build(self) -> "Head": ...


class Head:
    """Both doors of the transformer: tokens in, losses or tokens out. What has a value or a body here is a default.

    `canvas`: channels of what has been painted so far, if positions are fed that; 0 if they are fed tokens.
    `guidable`: predictions can be summed over the views of guidance.
    `has_density`: `log_prob` says how likely a token is.
    `denoising`: `sample` leads part-noised tokens to the level that they were fed with as `to`.
    `modulates`: the level of a token is told to the blocks by `modulation`.
    `whole`: all tokens of a picture enter and leave together, and all see each other.

    `enter` gives the vectors and a memo, what the exit needs to remember of the positions: None, a tensor [b, q, ...],
    or something with a method `at(index)`.
    """

    space: TokenSpace
    width: int
    canvas: int = 0
    guidable: bool = True
    has_density: bool = False
    denoising: bool = False
    modulates: bool = False
    whole: bool = False

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], Any]:
        """The vectors of positions that are fed this, and the memo."""
        raise NotImplementedError

    def loss(self, hidden: Float[Tensor, "b q w"], target: Tensor, memo: Any, noise: Noise | None) -> Tensor:
        """The loss of each token [b, q], whether it is wanted or not."""
        raise NotImplementedError

    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: Any, sampling: Sampling,
        noise: Noise, rows: Int[Tensor, "b"],
    ) -> Tensor:  # fmt: skip
        """One token for each position, the views weighted; `rows` says which pictures of the noise these are."""
        raise NotImplementedError

    def log_prob(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], tokens: Tensor, sampling: Sampling
    ) -> Float[Tensor, "b q"]:
        """How likely each token is drawn."""
        raise ValueError("this head says of no token how likely it is")

    def modulation(self, fed: Fed) -> Float[Tensor, "b q w"] | None:
        """What the levels of tokens say to the blocks."""
        return None

    def refuse_guidance(self, weights: Float[Tensor, "*s v b"]) -> None:
        """Raise ValueError if a head that cannot be guided would have to be."""


def memo_at(memo: Any, index: Int[Tensor, "b q"]) -> Any:
    """The memo of some of the positions that it is of."""
    if memo is None:
        return None
    if isinstance(memo, Tensor):
        return memo[torch.arange(len(index), device=index.device)[:, None], index]
    return memo.at(index)


def weigh(logits: Float[Tensor, "v b q k"], weights: Float[Tensor, "v b"]) -> Float[Tensor, "b q k"]:
    """The weighted sum over views; with one view, or weight 1 on the first, this is that view's logits."""
    if len(logits) == 1:
        return logits[0]
    first, *others = weights.unsqueeze(-1).unsqueeze(-1)
    total = logits[0] * first
    for view, weight in zip(logits[1:], others, strict=True):
        total.addcmul_(view, weight)
    return total


def choose(logits: Float[Tensor, "*b k"], sampling: Sampling, uniform: Tensor) -> Int[Tensor, "*b"]:
    """The value that `uniform` [*b] selects; at temperature 0 the likeliest one, of equal ones the first."""
    return logits.argmax(-1) if sampling.temperature == 0 else pick(keep(logits, sampling), uniform)


def soften(logits: Float[Tensor, "*b k"], soft: Soft, uniform: Tensor) -> Float[Tensor, "*b k"]:
    """The distribution that `uniform` [*b, k] in [0, 1) selects: a choice that is not quite made."""
    gumbel = -(-uniform.clamp(min=1e-300).log()).log()
    return ((logits * soft.gain + gumbel.to(logits)) / soft.temperature).softmax(-1)


def keep(logits: Float[Tensor, "*b k"], sampling: Sampling) -> Float[Tensor, "*b k"]:
    """Logits with temperature applied and all but the top k and the top p set to minus infinity."""
    if sampling.temperature == 0:
        return torch.where(logits == logits.amax(-1, keepdim=True), 0.0, -math.inf)
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    few = 0 < sampling.top_k < logits.shape[-1]
    if not few and sampling.top_p == 1:
        return logits
    values, index = logits.topk(sampling.top_k + 1) if few else logits.sort(descending=True)
    if few:
        if (values[..., -1] == values[..., -2]).any():  # several are the k-th largest: all of them stay
            values, index = logits.sort(descending=True)
        values = values.masked_fill(values < values[..., sampling.top_k - 1, None], -math.inf)
    if sampling.top_p < 1:
        share = values.softmax(-1)
        values = values.masked_fill(share.cumsum(-1) - share > sampling.top_p, -math.inf)
    return torch.full_like(logits, -math.inf).scatter_(-1, index, values)


def loss_of_codes(logits: Float[Tensor, "b q k c"], target: Int[Tensor, "b q k"]) -> Float[Tensor, "b q"]:
    """The loss of tokens of k codes: minus the sum of what `logits`, given the codes before, say of each."""
    return cross_entropy(logits.flatten(0, 2), target.flatten(), reduction="none").view(target.shape).sum(-1)


def log_prob_of_codes(
    logits: Float[Tensor, "v b q k c"], weights: Float[Tensor, "v b"], tokens: Int[Tensor, "b q k"],
    sizes: Sequence[int], sampling: Sampling,
) -> Float[Tensor, "b q"]:  # fmt: skip
    """How likely tokens of k codes, of so many values each, are drawn, given logits of each code after those before."""
    total = torch.zeros(tokens.shape[:2], device=logits.device)
    for code, size in enumerate(sizes):
        kept = keep(weigh(logits[..., code, :size], weights), sampling)
        total = total + torch.log_softmax(kept, -1).gather(-1, tokens[..., code, None])[..., 0]
    return total
