"""Memory: rows beside the stream that every block may listen to, and the cross-attention that does so.

Vaswani et al. 2017 (its decoder's second attention); in the form of Han et al. 2024 (Infinity), whose texts are such
rows: of any number, without places.
"""

from dataclasses import dataclass, field

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention

from kiloword.transformer.cache import Cache
from kiloword.transformer.norm import LayerNormConfig, RMSNormConfig

# Axes: b rows of the batch, t places in a row, m rows of memory, w width, w2 two widths, c channels of the memory,
# r packed rows, s samples in one of them.


@dataclass(frozen=True)
class Memory:
    """Rows to be listened to, and which of them there are: samples may have any number, and none at all."""

    vectors: Float[Tensor, "b m w"]
    present: Bool[Tensor, "b m"]
    sample: Int[Tensor, "b m"] | None = None  # None: one sample a batch row

    def heard(self, sample: Int[Tensor, "b t"] | None) -> Bool[Tensor, "b #t m"]:
        """Which rows of memory a row of the stream listens to: those of its own sample."""
        seen = self.present[:, None]
        if self.sample is None or sample is None:
            return seen
        return seen & (self.sample[:, None] == sample[:, :, None])

    def lengthened(self, rows: int) -> "Memory":
        """The same with absent rows behind, so that there are as many as this."""
        more = rows - self.present.shape[1]
        sample = None if self.sample is None else pad(self.sample, (0, more), value=-1)
        return Memory(pad(self.vectors, (0, 0, 0, more)), pad(self.present, (0, more)), sample)

    def gathered(self, samples: Int[Tensor, "r s"]) -> "Memory":
        """The memories of several samples side by side, for packed rows; -1 is no sample."""
        there = self.present[samples.clamp(min=0)] & (samples >= 0)[..., None]
        owner = samples[..., None].expand(-1, -1, self.present.shape[1])
        vectors = rearrange(self.vectors[samples.clamp(min=0)], "r s m w -> r (s m) w")
        return Memory(vectors, there.flatten(1), owner.flatten(1))


def stacked(memories: list[Memory | None], counts: list[int]) -> Memory | None:
    """Memories on top of each other, each of so many samples; where one is missing its rows are absent."""
    known = [memory for memory in memories if memory is not None]
    if not known:
        return None
    longest, like = max(memory.present.shape[1] for memory in known), known[0]
    filled = [
        memory.lengthened(longest) if memory is not None
        else Memory(like.vectors.new_zeros(count, longest, like.vectors.shape[2]),
                    like.present.new_zeros(count, longest))
        for memory, count in zip(memories, counts, strict=True)
    ]  # fmt: skip
    sample = None
    if any(memory.sample is not None for memory in filled):
        sample = torch.cat([
            torch.zeros_like(memory.present, dtype=torch.long) if memory.sample is None else memory.sample
            for memory in filled
        ])  # fmt: skip
    vectors, present = (torch.cat([getattr(memory, name) for memory in filled]) for name in ("vectors", "present"))
    return Memory(vectors, present, sample)


@dataclass(frozen=True)
class CrossAttentionConfig:
    """`norm` is that of the rows that ask."""

    heads: int
    norm: LayerNormConfig | RMSNormConfig = field(default_factory=LayerNormConfig)

    def __post_init__(self):
        if self.heads < 1:
            raise ValueError(f"cross-attention needs at least one head, got {self.heads}")

    def build(self, width: int) -> "Listener":
        if width % self.heads:
            raise ValueError(f"width {width} is not a multiple of {self.heads} heads")
        return Listener(self, width)


class Deaf(nn.Module):
    """A block that listens to nothing."""

    def forward(
        self, x: Float[Tensor, "b t w"], memory: Memory | None, heard: Tensor | None, cache: Cache | None, layer: int
    ) -> Float[Tensor, "b t w"]:
        return x


class Listener(nn.Module):
    """Adds to each row what it hears; where there is no memory, nothing."""

    def __init__(self, config: CrossAttentionConfig, width: int):
        super().__init__()
        self.norm = config.norm.build(width)
        self.attention = CrossAttention(config, width)

    def forward(
        self, x: Float[Tensor, "b t w"], memory: Memory | None, heard: Bool[Tensor, "b #t m"] | None,
        cache: Cache | None, layer: int,
    ) -> Float[Tensor, "b t w"]:  # fmt: skip
        if memory is None or heard is None:
            return x
        return x + self.attention(self.norm(x), memory, heard, cache, layer)


class CrossAttention(nn.Module):
    """Queries from the rows, keys and values from the memory. A row that hears nothing is told nothing."""

    def __init__(self, config: CrossAttentionConfig, width: int):
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(width, width)
        self.key_values = KeyValues(width, width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b t w"], memory: Memory, heard: Bool[Tensor, "b #t m"], cache: Cache | None, layer: int
    ) -> Float[Tensor, "b t w"]:
        """The memory's keys and values are the same at every step: a cache keeps them."""

        def read() -> Tensor:
            return self.key_values(memory.vectors)

        told = read() if cache is None else cache.recall(layer, memory, read)
        some = heard.any(-1, keepdim=True)
        mixed = attend(self.query(x), told, heard | ~some, self.heads)
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
    queries: Float[Tensor, "b t w"], told: Float[Tensor, "b m w2"], heard: Bool[Tensor, "b #t m"], heads: int
) -> Float[Tensor, "b t w"]:
    """Softmax attention of several heads to what is heard."""
    keys, values = told.chunk(2, dim=-1)
    q, k, v = (rearrange(part, "b n (h d) -> b h n d", h=heads) for part in (queries, keys, values))
    return rearrange(scaled_dot_product_attention(q, k, v, heard[:, None]), "b h t d -> b t (h d)")
