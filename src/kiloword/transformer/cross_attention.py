"""Cross-attention of every block to a context: positions beside the stream, such as the features of a text encoder.

Vaswani et al. 2017 (its decoder's second attention); in the form of Han et al. 2024 (Infinity), whose texts
have any number of positions, without position embeddings.
"""

from dataclasses import dataclass, field

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention

from kiloword.transformer.cache import Cache
from kiloword.transformer.norm import LayerNormConfig, RMSNormConfig

# Axes: b batch, t positions of the stream, m positions of the context, w width, w2 two widths, c channels of the
# context, r packed sequences, s samples in one of them.


@dataclass(frozen=True)
class Context:
    """What cross-attention attends to: vectors, and which of them are `present` (not padding); a sample may have none.

    `sample` is the index of the sample of each position, where several samples share a sequence.
    """

    vectors: Float[Tensor, "b m w"]
    present: Bool[Tensor, "b m"]
    sample: Int[Tensor, "b m"] | None = None  # None: one sample a sequence

    def mask(self, sample: Int[Tensor, "b t"] | None) -> Bool[Tensor, "b #t m"]:
        """The mask of cross-attention: a position of the stream attends to the context of its sample."""
        present = self.present[:, None]
        if self.sample is None or sample is None:
            return present
        return present & (self.sample[:, None] == sample[:, :, None])

    def padded(self, length: int) -> "Context":
        """The same, padded to `length` positions."""
        more = length - self.present.shape[1]
        sample = None if self.sample is None else pad(self.sample, (0, more), value=-1)
        return Context(pad(self.vectors, (0, 0, 0, more)), pad(self.present, (0, more)), sample)

    def gathered(self, samples: Int[Tensor, "r s"]) -> "Context":
        """The contexts of several samples concatenated, for packed sequences; -1 is no sample."""
        present = self.present[samples.clamp(min=0)] & (samples >= 0)[..., None]
        owner = samples[..., None].expand(-1, -1, self.present.shape[1])
        vectors = rearrange(self.vectors[samples.clamp(min=0)], "r s m w -> r (s m) w")
        return Context(vectors, present.flatten(1), owner.flatten(1))


def stacked(contexts: list[Context | None], counts: list[int]) -> Context | None:
    """Contexts as one batch, padded to one length. `counts`: the samples of each; a context that is None is all
    padding."""
    known = [context for context in contexts if context is not None]
    if not known:
        return None
    longest, like = max(context.present.shape[1] for context in known), known[0]
    filled = [
        context.padded(longest) if context is not None
        else Context(like.vectors.new_zeros(count, longest, like.vectors.shape[2]),
                    like.present.new_zeros(count, longest))
        for context, count in zip(contexts, counts, strict=True)
    ]  # fmt: skip
    sample = None
    if any(context.sample is not None for context in filled):
        sample = torch.cat([
            torch.zeros_like(context.present, dtype=torch.long) if context.sample is None else context.sample
            for context in filled
        ])  # fmt: skip
    vectors, present = (torch.cat([getattr(context, name) for context in filled]) for name in ("vectors", "present"))
    return Context(vectors, present, sample)


@dataclass(frozen=True)
class CrossAttentionConfig:
    """Cross-attention of `heads` heads; `norm` is that of the queries."""

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
    """The identity, for blocks without cross-attention."""

    def forward(
        self, x: Float[Tensor, "b t w"], context: Context | None, context_mask: Tensor | None, cache: Cache | None,
        layer: int,
    ) -> Float[Tensor, "b t w"]:  # fmt: skip
        return x


class CrossAttentionBlock(nn.Module):
    """Pre-norm cross-attention with a residual connection; the identity where there is no context."""

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
    """Queries from the stream, keys and values from the context; zeros for a position that attends to nothing."""

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
        """The context's keys and values are the same at every step, so a cache keeps them."""

        def project() -> Tensor:
            return self.key_values(context.vectors)

        key_values = project() if cache is None else cache.cached_context(layer, context, project)
        some = context_mask.any(-1, keepdim=True)
        attended = attend(self.query(x), key_values, context_mask | ~some, self.heads)
        return self.out(attended) * some


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
    queries: Float[Tensor, "b t w"], key_values: Float[Tensor, "b m w2"], context_mask: Bool[Tensor, "b #t m"],
    heads: int,
) -> Float[Tensor, "b t w"]:  # fmt: skip
    """Multi-head softmax attention where the mask is true."""
    keys, values = key_values.chunk(2, dim=-1)
    q, k, v = (rearrange(part, "b n (h d) -> b h n d", h=heads) for part in (queries, keys, values))
    return rearrange(scaled_dot_product_attention(q, k, v, context_mask[:, None]), "b h t d -> b t (h d)")
