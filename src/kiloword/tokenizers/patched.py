"""Patched: a tokenizer around a tokenizer of vectors that joins neighbouring ones to one long token.

Patches of Dosovitskiy et al. 2020 (ViT), of latents as in Peebles and Xie 2022 (DiT) and Li et al. 2024 (MAR).
"""

from dataclasses import dataclass, replace

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kiloword.noise import Noise
from kiloword.tokenizers.quantizer import Quantized
from kiloword.tokenizers.tokenizer import TokenizerConfig
from kiloword.tokens import Layout, Vector

# Axes: b pictures, n tokens, m = n patch^2 vectors of the tokenizer inside, c numbers of each, C = c patch^2 numbers of
# a token, h w grid of tokens, p q rows and columns in a patch, H W pixels.


@dataclass(frozen=True)
class PatchedConfig:
    """A token holds `patch` rows and as many columns of the vectors of `tokenizer`."""

    tokenizer: TokenizerConfig
    patch: int

    def __post_init__(self):
        if self.patch < 1:
            raise ValueError(f"a patch has at least 1 row, got {self.patch}")

    def build(self) -> "Patched":
        return Patched(self)


class Patched(nn.Module):
    """A token's numbers are sorted by channel, then by row, then by column in the patch."""

    def __init__(self, config: PatchedConfig):
        super().__init__()
        self.config, self.patch = config, config.patch
        self.tokenizer = config.tokenizer.build()
        inner = self.tokenizer.space
        if not isinstance(inner, Vector):
            raise ValueError(f"only Vector tokens can be joined to patches, the tokenizer inside gives {inner}")
        self.space = Vector(inner.dim * config.patch**2)

    @property
    def stride(self) -> int:
        """Pixels a side that one token covers."""
        return self.tokenizer.stride * self.patch

    @property
    def channels(self) -> int:
        """Channels of its pictures: 4 (RGBA) or 3 (RGB)."""
        return self.tokenizer.channels

    def layout(self, height: int, width: int) -> Layout:
        if min(height, width) < self.stride or height % self.stride or width % self.stride:
            raise ValueError(f"pictures have sides that are multiples of {self.stride}, got {height}x{width}")
        inner = self.tokenizer.layout(height, width)
        if len(inner.sizes) != 1:
            raise ValueError(f"patches are made of one grid, the tokenizer inside has {len(inner.sizes)}")
        h, w = inner.sizes[0]
        return Layout(((h // self.patch, w // self.patch),))

    def inner(self, layout: Layout) -> Layout:
        """The grid of the tokenizer inside."""
        h, w = layout.sizes[-1]
        return Layout(((h * self.patch, w * self.patch),))

    def encode(self, pixels: Float[Tensor, "b c H W"], layout: Layout, noise: Noise | None = None) -> Quantized:
        found, columns = self.tokenizer.encode(pixels, self.inner(layout), noise), layout.sizes[-1][1]
        target, shown = (joined(tokens, columns, self.patch) for tokens in (found.target, found.shown))
        return replace(found, target=target, shown=shown)

    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]:
        columns, p = layout.sizes[-1][1], self.patch
        each = known[..., None].expand(-1, -1, p**2)
        inside = taken_apart(each, columns, p)[..., 0]
        return self.tokenizer.decode(taken_apart(tokens, columns, p), self.inner(layout), inside)


def joined(vectors: Float[Tensor, "b m c"], columns: int, patch: int) -> Float[Tensor, "b n C"]:
    """Vectors in raster order as patches in raster order, of which a row has so many."""
    return rearrange(vectors, "b (h p w q) c -> b (h w) (c p q)", w=columns, p=patch, q=patch)


def taken_apart(tokens: Tensor, columns: int, patch: int) -> Tensor:
    """The vectors [b, m, c] of patches [b, n, C]."""
    return rearrange(tokens, "b (h w) (c p q) -> b (h p w q) c", w=columns, p=patch, q=patch)
