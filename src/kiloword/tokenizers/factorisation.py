"""Attention factorisation: narrowing a network's vectors to the quantizer's, and widening them again, by attention.

Ma et al. 2025 (UniTok), section 3.3: between wide and narrow vectors, a linear layer loses more than attention does.
"""

from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from kiloword.tokenizers.network import Decoder, Encoder, NetworkConfig
from kiloword.tokens import Layout
from kiloword.transformer import GeGLUConfig, LayerNormConfig

# Axes: b pictures, c channels, H W pixels, k latent channels, h w grid, n = h w, i o width before and after,
# q heads, d channels of a head.


@dataclass(frozen=True)
class FactorisationConfig:
    """A network around a network: the inner one has latents of `width` channels, a multiple of the outer one's."""

    network: NetworkConfig
    width: int

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"the inner network needs at least one channel, got {self.width}")

    @property
    def channels(self) -> int:
        return self.network.channels

    @property
    def stride(self) -> int:
        return self.network.stride

    def build_encoder(self, latent_channels: int) -> "FactorisedEncoder":
        return FactorisedEncoder(self, latent_channels)

    def build_decoder(self, latent_channels: int) -> "FactorisedDecoder":
        return FactorisedDecoder(self, latent_channels)


class FactorisedEncoder(Encoder):
    """The inner encoder, then attention that narrows."""

    def __init__(self, config: FactorisationConfig, latent_channels: int):
        super().__init__()
        self.network = config.network.build_encoder(config.width)
        self.project = Projection(config.width, latent_channels)

    def forward(self, pixels: Float[Tensor, "b c H W"], layout: Layout) -> Float[Tensor, "b k h w"]:
        return over_grid(self.project, self.network(pixels, layout))


class FactorisedDecoder(Decoder):
    """Attention that widens, then the inner decoder."""

    def __init__(self, config: FactorisationConfig, latent_channels: int):
        super().__init__()
        self.feature_width = config.width
        self.project = Projection(latent_channels, config.width)
        self.network = config.network.build_decoder(config.width)

    def features(self, latent: Float[Tensor, "b k h w"], layout: Layout) -> Float[Tensor, "b o h w"]:
        """The widened vectors: semantic features of the tokens."""
        return over_grid(self.project, latent)

    def forward(self, latent: Float[Tensor, "b k h w"], layout: Layout) -> Float[Tensor, "b c H W"]:
        return self.network(self.features(latent, layout), layout)


class Projection(nn.Module):
    """A transformer block whose output is wider or narrower than its input; the skip connection is a linear layer."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        norm = LayerNormConfig(eps=1e-5)
        self.skip_norm, self.skip = norm.build(inside), nn.Linear(inside, outside)
        self.attention_norm, self.attention = norm.build(inside), ResizingAttention(inside, outside)
        self.feed_forward_norm, self.feed_forward = norm.build(outside), GeGLUConfig(2 * outside).build(outside)

    def forward(self, x: Float[Tensor, "b n i"]) -> Float[Tensor, "b n o"]:
        x = self.skip(self.skip_norm(x)) + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class ResizingAttention(nn.Module):
    """Heads as wide as the narrow side, as many as fill the wide one: averaged to narrow, concatenated to widen.

    Keys have no bias: it would add a constant to all logits of a query.
    """

    def __init__(self, inside: int, outside: int):
        super().__init__()
        narrow, wide = sorted((inside, outside))
        if wide % narrow:
            raise ValueError(f"attention factorises widths of which one divides the other, got {inside} and {outside}")
        self.heads, self.narrows = wide // narrow, inside > outside
        self.qkv = nn.Linear(inside, 3 * wide, bias=False)
        self.query_bias = nn.Parameter(torch.zeros(wide))
        self.value_bias = nn.Parameter(torch.zeros(wide))
        self.out = nn.Linear(outside, outside)

    def forward(self, x: Float[Tensor, "b n i"]) -> Float[Tensor, "b n o"]:
        bias = torch.cat([self.query_bias, torch.zeros_like(self.query_bias), self.value_bias])
        parts = rearrange(linear(x, self.qkv.weight, bias), "b n (p q d) -> p b q n d", p=3, q=self.heads)
        queries, keys, values = parts
        mixed = scaled_dot_product_attention(queries, keys, values)
        joined = reduce(mixed, "b q n d -> b n d", "mean") if self.narrows else rearrange(mixed, "b q n d -> b n (q d)")
        return self.out(joined)


def over_grid(block: nn.Module, grid: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
    """A transformer block over the positions of a grid in raster order."""
    return rearrange(block(rearrange(grid, "b i h w -> b (h w) i")), "b (h w) o -> b o h w", h=grid.shape[2])
