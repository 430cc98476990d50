"""The law of heads, and sampling from logits.

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

from kiloword.noise import Noise, sample_categorical
from kiloword.tokens import Fed, Layout, TokenSpace

# Axes: v views, b pictures, q tokens, w width, k values, or codes of c values each.


@dataclass(frozen=True)
class Soft:
    """Settings of soft tokens, a distribution in place of one id: softmax((logits * gain + Gumbel noise) /
    temperature).

    Gumbel-softmax (Jang et al. 2016) as VAR's "more smooth" uses it to draw (Tian et al. 2024).
    """

    temperature: float
    gain: float = 1.0

    def __post_init__(self):
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"soft sampling needs a finite temperature above 0, got {self.temperature}")


@dataclass(frozen=True)
class Sampling:
    """How a value is sampled: temperature 0 is greedy; top_k 0 and top_p 1 filter nothing.

    `soft` tokens are for tokenizers that decode distributions over their codes.
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
    """Embeds tokens at the transformer's entrance; computes losses or samples at its output. Values and bodies are
    defaults.

    `canvas`: channels of the canvas, if positions are fed what has been decoded so far; 0 if they are fed tokens.
    `guidable`: predictions can be combined over the views of guidance.
    `has_density`: `log_prob` gives the log-likelihood of tokens.
    `denoising`: `sample` denoises part-noised tokens by one step, to the level `Fed.to`.
    `modulates`: the blocks are conditioned on the level of a token by the vectors of `modulation`.
    `whole`: all tokens of a picture enter and leave together, and attend to each other.

    `enter` gives the embeddings and a memo, what `loss` and `sample` need of the input: None, a tensor [b, q, ...], or
    an object with a method `at(index)`.

        vectors, memo = head.enter(fed, layout)
        loss = head.loss(hidden, target, memo, noise)  # [b, q]
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
        """The embeddings of the positions that are fed this, and the memo."""
        raise NotImplementedError

    def loss(self, hidden: Float[Tensor, "b q w"], target: Tensor, memo: Any, noise: Noise | None) -> Tensor:
        """The unreduced loss of every token [b, q], in nats where it is a likelihood; the caller masks it."""
        raise NotImplementedError

    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: Any, sampling: Sampling,
        noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Tensor:  # fmt: skip
        """One token for each position, from the views combined with `weights` (summing to 1 over views). `pictures` are
        the indices of these pictures in `noise`."""
        raise NotImplementedError

    def log_prob(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], tokens: Tensor, sampling: Sampling
    ) -> Float[Tensor, "b q"]:
        """The log-probability, in nats, with which each token is sampled. Raises ValueError unless `has_density`."""
        raise ValueError("this head has no likelihood of tokens")

    def modulation(self, fed: Fed) -> Float[Tensor, "b q w"] | None:
        """The vectors by which the tokens' levels modulate the blocks; None unless `modulates`."""
        return None

    def refuse_guidance(self, weights: Float[Tensor, "*s v b"]) -> None:
        """Raise ValueError for weights of guidance, in heads that are not `guidable`."""


def memo_at(memo: Any, index: Int[Tensor, "b q"]) -> Any:
    """The memo of the positions of `index`."""
    if memo is None:
        return None
    if isinstance(memo, Tensor):
        return memo[torch.arange(len(index), device=index.device)[:, None], index]
    return memo.at(index)


def combine_views(logits: Float[Tensor, "v b q k"], weights: Float[Tensor, "v b"]) -> Float[Tensor, "b q k"]:
    """Classifier-free guidance: the weighted sum of logits over the views. With one view, its logits as they are."""
    if len(logits) == 1:
        return logits[0]
    first, *others = weights.unsqueeze(-1).unsqueeze(-1)
    total = logits[0] * first
    for view, weight in zip(logits[1:], others, strict=True):
        total.addcmul_(view, weight)
    return total


def sample_from(logits: Float[Tensor, "*b k"], sampling: Sampling, uniform: Tensor) -> Int[Tensor, "*b"]:
    """Sample a value by the uniform numbers [*b] in [0, 1); at temperature 0 the likeliest one, of equal ones the
    first."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    return sample_categorical(filter_logits(logits, sampling), uniform)


def gumbel_softmax(logits: Float[Tensor, "*b k"], soft: Soft, uniform: Tensor) -> Float[Tensor, "*b k"]:
    """Gumbel-softmax of logits by the uniform numbers [*b, k] in [0, 1): distributions in place of ids."""
    gumbel = -(-uniform.clamp(min=1e-300).log()).log()
    return ((logits * soft.gain + gumbel.to(logits)) / soft.temperature).softmax(-1)


def filter_logits(logits: Float[Tensor, "*b k"], sampling: Sampling) -> Float[Tensor, "*b k"]:
    """Logits divided by the temperature, all but the top k and the top p (nucleus) set to minus infinity."""
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
    """The cross-entropy of tokens of k codes, summed over the codes; `logits` are conditioned on the codes before."""
    return cross_entropy(logits.flatten(0, 2), target.flatten(), reduction="none").view(target.shape).sum(-1)


def log_prob_of_codes(
    logits: Float[Tensor, "v b q k c"], weights: Float[Tensor, "v b"], tokens: Int[Tensor, "b q k"],
    sizes: Sequence[int], sampling: Sampling,
) -> Float[Tensor, "b q"]:  # fmt: skip
    """The log-probability with which tokens of k codes, of `sizes` values each, are sampled; `logits` are conditioned
    on the codes before."""
    total = torch.zeros(tokens.shape[:2], device=logits.device)
    for code, size in enumerate(sizes):
        kept = filter_logits(combine_views(logits[..., code, :size], weights), sampling)
        total = total + torch.log_softmax(kept, -1).gather(-1, tokens[..., code, None])[..., 0]
    return total
