"""Cross-attention of every block to a context: rows beside the stream.

Vaswani et al. 2017 (its decoder's second attention); in the form of Han et al. 2024 (Infinity), whose texts are such
rows: of any number, without places.
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention

from kiloword.transformer.cache import Cache
from kiloword.transformer.norm import LayerNormConfig, RMSNormConfig

# Axes: b rows of the batch, t places in a row, m rows of context, w width, w2 two widths, c channels of the context,
# r packed rows, s samples in one of them.


@dataclass(frozen=True)
class Context:
    """Rows to be attended to, and which of them there are: samples may have any number, and none at all."""

    vectors: Float[Tensor, "b m w"]
    present: Bool[Tensor, "b m"]
    sample: Int[Tensor, "b m"] | None = None  # None: one sample a batch row

    def mask(self, sample: Int[Tensor, "b t"] | None) -> Bool[Tensor, "b #t m"]:
        """Which rows of context a row of the stream attends to: those of its own sample."""
        seen = self.present[:, None]
        if self.sample is None or sample is None:
            return seen
        return seen & (self.sample[:, None] == sample[:, :, None])

    def lengthened(self, rows: int) -> "Context":
        """The same with absent rows behind, so that there are as many as this."""
        more = rows - self.present.shape[1]
        return Context(pad(self.vectors, (0, 0, 0, more)), pad(self.present, (0, more)))

    def gathered(self, samples: Int[Tensor, "r s"]) -> "Context":
        """The contexts of several samples side by side, for packed rows; -1 is no sample."""
        there = self.present[samples.clamp(min=0)] & (samples >= 0)[..., None]
        owner = samples[..., None].expand(-1, -1, self.present.shape[1])
        vectors = rearrange(self.vectors[samples.clamp(min=0)], "r s m w -> r (s m) w")
        return Context(vectors, there.flatten(1), owner.flatten(1))


def stacked(contexts: list[Context | None], counts: list[int]) -> Context | None:
    """Contexts on top of each other, each of so many samples; where one is missing its rows are absent."""
    known = [context for context in contexts if context is not None]
    if not known:
        return None
    longest, like = max(context.present.shape[1] for context in known), known[0]
    filled = [
        context.lengthened(longest) if context is not None
        else Context(like.vectors.new_zeros(count, longest, like.vectors.shape[2]),
                    like.present.new_zeros(count, longest))
        for context, count in zip(contexts, counts, strict=True)
    ]  # fmt: skip
    return Context(torch.cat([each.vectors for each in filled]), torch.cat([each.present for each in filled]))


@runtime_checkable
class CrossAttending(Protocol):
    """Transformers that attend to a context, if `cross_attends` says so."""

    @property
    def cross_attends(self) -> bool: ...


@dataclass(frozen=True)
class CrossAttentionConfig:
    """`norm` is that of the rows that ask."""

    heads: int
    norm: LayerNormConfig | RMSNormConfig = field(default_factory=LayerNormConfig)

    def __post_init__(self):
        if self.heads < 1:
            raise ValueError(f"cross-attention needs at least one head, got {self.heads}")

    def build(self, width: int) -> "CrossAttentionBlock":
        if width % self.heads:
            raise ValueError(f"width {width} is not a multiple of {self.heads} heads")
        return CrossAttentionBlock(self, width)


class NoCrossAttention(nn.Module):
    """The identity: a block without cross-attention."""

    def forward(
        self, x: Float[Tensor, "b t w"], context: Context | None, context_mask: Tensor | None, cache: Cache | None,
        layer: int,
    ) -> Float[Tensor, "b t w"]:  # fmt: skip
        return x


class CrossAttentionBlock(nn.Module):
    """Adds to each row what it attends to; where there is no context, nothing."""

    def __init__(self, config: CrossAttentionConfig, width: int):
        super().__init__()
        self.norm = config.norm.build(width)
        self.attention = CrossAttention(config, width)

    def forward(
        self, x: Float[Tensor, "b t w"], context: Context | None, context_mask: Bool[Tensor, "b #t m"] | None,
        cache: Cache | None, layer: int,
    ) -> Float[Tensor, "b t w"]:  # fmt: skip
        if context is None or context_mask is None:
            return x
        return x + self.attention(self.norm(x), context, context_mask, cache, layer)


class CrossAttention(nn.Module):
    """Queries from the rows, keys and values from the context. A row that attends to nothing is left as it is."""

    def __init__(self, config: CrossAttentionConfig, width: int):
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(width, width)
        self.key_values = KeyValues(width, width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b t w"], context: Context, context_mask: Bool[Tensor, "b #t m"], cache: Cache | None,
        layer: int,
    ) -> Float[Tensor, "b t w"]:  # fmt: skip
        """The context's keys and values are the same at every step: a cache keeps them."""

        def read() -> Tensor:
            return self.key_values(context.vectors)

        told = read() if cache is None else cache.cached_context(layer, read)
        some = context_mask.any(-1, keepdim=True)
        mixed = attend(self.query(x), told, context_mask | ~some, self.heads)
        return self.out(mixed) * some


class KeyValues(nn.Module):
    """Keys and values side by side from one matrix; only values have a bias."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * width, channels))
        self.value_bias = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.weight, std=channels**-0.5)

    def forward(self, x: Float[Tensor, "b m c"]) -> Float[Tensor, "b m w2"]:
        return linear(x, self.weight, torch.cat([torch.zeros_like(self.value_bias), self.value_bias]))


def attend(
    queries: Float[Tensor, "b t w"], told: Float[Tensor, "b m w2"], context_mask: Bool[Tensor, "b #t m"], heads: int
) -> Float[Tensor, "b t w"]:
    """Softmax attention of several heads to what the mask lets through."""
    keys, values = told.chunk(2, dim=-1)
    q, k, v = (rearrange(part, "b n (h d) -> b h n d", h=heads) for part in (queries, keys, values))
    return rearrange(scaled_dot_product_attention(q, k, v, context_mask[:, None]), "b h t d -> b t (h d)")
