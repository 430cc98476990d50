"""Multi-head attention with grouped keys and values (Vaswani et al. 2017; Ainslie et al. 2023, GQA)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention

from kiloword.transformer.cache import Cache
from kiloword.transformer.norm import LayerNormConfig, RMSNorm, RMSNormConfig, UnitConfig, UnitKeys, UnitQueries
from kiloword.transformer.position import rotate
from kiloword.transformer.stream import at

# Axes: b batch, h heads, d channels of a head, q new positions, a positions of the query index, n = a or q, c positions
# attended to, w width, p channels of queries, keys and values together.


@dataclass(frozen=True)
class AttentionConfig:
    """Grouped-query attention: `heads` query heads share `key_heads` heads of keys and values.

    `query_norm` normalises the queries and keys of each head (QK-norm). With a `bias`, `key_bias` False leaves it out
    of the keys, `out_bias` False out of the output projection (Qwen2, Bai et al. 2023). Scores are divided by
    sqrt(head_dim) and multiplied by `gain`.
    """

    heads: int
    key_heads: int | None = None  # None: as many as queries
    head_dim: int | None = None  # None: width / heads
    bias: bool = False
    query_norm: RMSNormConfig | LayerNormConfig | UnitConfig | None = None
    key_bias: bool = True
    gain: float = 1.0
    out_bias: bool = True

    def __post_init__(self):
        if self.heads < 1 or self.heads % (self.key_heads or self.heads):
            raise ValueError(f"{self.heads} query heads cannot share {self.key_heads} key heads evenly")

    def build(self, width: int) -> "Attention":
        if self.head_dim is None and width % self.heads:
            raise ValueError(f"width {width} is not a multiple of {self.heads} heads")
        return Attention(self, width)


class Attention(nn.Module):
    """Self-attention; queries, keys and values come from one matrix, in that order."""

    def __init__(self, config: AttentionConfig, width: int):
        super().__init__()
        self.heads = config.heads
        self.key_heads = config.key_heads or config.heads
        self.head_dim = config.head_dim or width // config.heads
        full = config.bias and config.key_bias
        self.qkv = nn.Linear(width, (self.heads + 2 * self.key_heads) * self.head_dim, bias=full)
        self.query_bias = self.value_bias = None
        if config.bias and not config.key_bias:
            self.query_bias = nn.Parameter(torch.zeros(self.heads * self.head_dim))
            self.value_bias = nn.Parameter(torch.zeros(self.key_heads * self.head_dim))
        self.scale = config.gain * self.head_dim**-0.5
        self.out = nn.Linear(self.heads * self.head_dim, width, bias=config.bias and config.out_bias)
        self.normed = config.query_norm is not None
        match config.query_norm:
            case None:
                self.query_norm, self.key_norm = nn.Identity(), nn.Identity()
            case UnitConfig() as unit:
                self.query_norm, self.key_norm = UnitQueries(unit, self.heads, self.head_dim), UnitKeys()
            case norm:
                self.query_norm, self.key_norm = norm.build(self.head_dim), norm.build(self.head_dim)

    def forward(
        self,
        x: Float[Tensor, "b q w"],
        angles: tuple[Tensor, Tensor] | None,
        mask: Bool[Tensor, "b q c"] | None,
        cache: Cache | None = None,
        layer: int = 0,
        query_index: Int[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b n w"]:
        """Attention output at the positions of `query_index` (None: all), attending where `mask` is true (None:
        everywhere), to what `cache` holds for `layer` too. `angles` are cosines and sines of rotary positions."""
        b, q, _ = x.shape
        parts = self._project(x).view(b, q, self.heads + 2 * self.key_heads, self.head_dim)
        queries_keys, values = parts.split([self.heads + self.key_heads, self.key_heads], dim=2)
        if self.normed:
            queries_keys = self._norm(queries_keys).to(values.dtype)
        if angles is not None:
            queries_keys = rotate(queries_keys, angles)
        queries, keys = queries_keys.transpose(1, 2).split([self.heads, self.key_heads], dim=1)
        values = values.transpose(1, 2)
        if cache is not None:
            keys, values = cache.append(layer, keys.detach(), values.detach())  # no gradients through a cache
        if query_index is not None:
            queries = at(queries.transpose(1, 2), query_index).transpose(1, 2)
            mask = None if mask is None else at(mask, query_index)
        attended = scaled_dot_product_attention(
            queries, keys, values, None if mask is None else mask[:, None], scale=self.scale,
            enable_gqa=self.heads != self.key_heads,
        )  # fmt: skip
        return self.out(attended.transpose(1, 2).flatten(2))

    def _norm(self, queries_keys: Float[Tensor, "b q h d"]) -> Float[Tensor, "b q h d"]:
        """Normalised queries and keys (QK-norm), in one call if both are RMSNorms."""
        if isinstance(self.query_norm, RMSNorm):
            normed = rms_norm(queries_keys, queries_keys.shape[3:], eps=self.query_norm.eps)
            return normed * self.gains().to(normed.dtype)
        queries, keys = queries_keys.split([self.heads, self.key_heads], dim=2)
        return torch.cat([self.query_norm(queries), self.key_norm(keys)], dim=2)

    def _project(self, x: Float[Tensor, "b q w"]) -> Float[Tensor, "b q p"]:
        """Queries, keys and values side by side."""
        return self.qkv(x) if self.query_bias is None else linear(x, self.qkv.weight, self.bias())

    def gains(self) -> Float[Tensor, "h d"]:
        """The gains of QK-norm by RMSNorm: of all query heads, then of all key heads."""
        assert isinstance(self.query_norm, RMSNorm) and isinstance(self.key_norm, RMSNorm)
        queries, keys = self.query_norm.weight, self.key_norm.weight
        return torch.cat([queries.expand(self.heads, -1), keys.expand(self.key_heads, -1)])

    def bias(self) -> Float[Tensor, "p"] | None:
        """The bias of queries, keys and values; zeros for the keys if they have none."""
        if self.query_bias is None or self.value_bias is None:
            return self.qkv.bias
        none = self.query_bias.new_zeros(self.key_heads * self.head_dim)
        return torch.cat([self.query_bias, none, self.value_bias])
