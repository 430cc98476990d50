"""Patched: a tokenizer around a tokenizer of vectors or bits that joins neighbouring ones to one long token.

Patches of Dosovitskiy et al. 2020 (ViT), of latents as in Peebles and Xie 2022 (DiT) and Li et al. 2024 (MAR), of bits
on several grids as in Han et al. 2024 (Infinity).
"""

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from kiloword.noise import Noise
from kiloword.tokenizers.quantizer import Multiscale, Quantized
from kiloword.tokenizers.tokenizer import Tokenizer, TokenizerConfig
from kiloword.tokens import Bits, Layout, Vector

# Axes: b pictures, n tokens, m = n patch^2 tokens of the tokenizer inside, c numbers of each, C = c patch^2 numbers of
# a token, h w grid of tokens, s t a coarser grid, p q rows and columns in a patch, H W pixels.


@dataclass(frozen=True)
class PatchedConfig:
    """A token holds `patch` rows and as many columns of the tokens of `tokenizer`, on each of its grids."""

    tokenizer: TokenizerConfig
    patch: int

    def __post_init__(self):
        if self.patch < 1:
            raise ValueError(f"a patch has at least 1 row, got {self.patch}")

    def build(self) -> "Patched":
        return Patched(self)


class Patched(nn.Module, Tokenizer):
    """A token's numbers are sorted by channel, then by row, then by column in the patch."""

    def __init__(self, config: PatchedConfig):
        super().__init__()
        self.config, self.patch = config, config.patch
        self.tokenizer = config.tokenizer.build()
        inner = self.tokenizer.space
        if not isinstance(inner, Vector | Bits):
            raise ValueError(f"only Vector tokens and Bits become patches, the tokenizer inside gives {inner}")
        self.space = replace(inner, dim=inner.dim * config.patch**2)

    @property
    def stride(self) -> int:
        """Pixels a side that one token covers."""
        return self.tokenizer.stride * self.patch

    @property
    def channels(self) -> int:
        """Channels of its pictures: 4 (RGBA) or 3 (RGB)."""
        return self.tokenizer.channels

    @property
    def flips(self) -> bool:
        return self.tokenizer.flips

    @property
    def multiscale(self) -> "PatchedScales | None":
        """The multi-scale quantizer, if the tokenizer inside has one."""
        scales = self.tokenizer.multiscale
        return PatchedScales(self, scales) if scales else None

    def layout(self, height: int, width: int) -> Layout:
        if min(height, width) < self.stride or height % self.stride or width % self.stride:
            raise ValueError(f"pictures have sides that are multiples of {self.stride}, got {height}x{width}")
        inner = self.tokenizer.layout(height, width)
        uneven = [size for size in (*inner.sizes, frame_of(inner)) if any(side % self.patch for side in size)]
        if uneven:
            patch = self.patch
            raise ValueError(f"a patch has {patch} rows and columns, the tokenizer inside has a grid {uneven[0]}")
        return Layout(tuple(self._patches(size) for size in inner.sizes), self._patches(frame_of(inner)))

    def _patches(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] // self.patch, size[1] // self.patch

    def inner(self, layout: Layout) -> Layout:
        """The grids of the tokenizer inside."""
        sizes = tuple((h * self.patch, w * self.patch) for h, w in (*layout.sizes, frame_of(layout)))
        return Layout(sizes[:-1], sizes[-1])

    def encode(self, pixels: Float[Tensor, "b c H W"], layout: Layout, noise: Noise | None = None) -> Quantized:
        inner = self.inner(layout)
        found = self.tokenizer.encode(pixels, inner, noise)
        target, shown = (self.together(tokens, inner) for tokens in (found.target, found.shown))
        return replace(found, target=target, shown=shown)

    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]:
        inside = self.apart(known[..., None].expand(-1, -1, self.patch**2), layout)[..., 0]
        return self.tokenizer.decode(self.apart(tokens, layout), self.inner(layout), inside)

    def together(self, tokens: Tensor, inner: Layout) -> Tensor:
        """The patches [b, n, C] of the tokens [b, m, c] of all grids inside."""
        grids = tokens.split(inner.counts, dim=1)
        columns = [w // self.patch for _, w in inner.sizes]
        return torch.cat([joined(grid, w, self.patch) for grid, w in zip(grids, columns, strict=True)], dim=1)

    def apart(self, tokens: Tensor, layout: Layout) -> Tensor:
        """The tokens inside [b, m, c] of the patches [b, n, C] of all grids."""
        grids = tokens.split(layout.counts, dim=1)
        columns = [w for _, w in layout.sizes]
        return torch.cat([taken_apart(grid, w, self.patch) for grid, w in zip(grids, columns, strict=True)], dim=1)


class PatchedScales(Multiscale):
    """A multi-scale quantizer over patches; the canvas has the size of the grids of patches."""

    def __init__(self, patched: Patched, quantizer: Multiscale):
        self.patched, self.quantizer = patched, quantizer

    def grids(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        patch = self.patched.patch
        return tuple((h // patch, w // patch) for h, w in self.quantizer.grids(height * patch, width * patch))

    def frame(self, height: int, width: int) -> tuple[int, int]:
        h, w = self.quantizer.frame(height * self.patched.patch, width * self.patched.patch)
        return h // self.patched.patch, w // self.patched.patch

    def canvas(self, shown: Tensor, layout: Layout, scale: int) -> Float[Tensor, "b C s t"]:
        inside = self.patched.apart(shown, layout)
        return self._folded(self.quantizer.canvas(inside, self.patched.inner(layout), scale))

    def stroke(self, tokens: Tensor, layout: Layout, scale: int) -> Float[Tensor, "b c h w"]:
        inside = taken_apart(tokens, layout.sizes[scale][1], self.patched.patch)
        return self.quantizer.stroke(inside, self.patched.inner(layout), scale)

    def shrink(self, canvas: Float[Tensor, "b c h w"], layout: Layout, scale: int) -> Float[Tensor, "b C s t"]:
        return self._folded(self.quantizer.shrink(canvas, self.patched.inner(layout), scale))

    def _folded(self, canvas: Float[Tensor, "b c h w"]) -> Float[Tensor, "b C s t"]:
        return pixel_unshuffle(canvas, self.patched.patch)


def frame_of(layout: Layout) -> tuple[int, int]:
    """The grid in whose units positions are counted."""
    return layout.frame or layout.sizes[-1]


def joined(vectors: Tensor, columns: int, patch: int) -> Tensor:
    """Tokens [b, m, c] in raster order as patches [b, n, C] in raster order, `columns` in a row."""
    return rearrange(vectors, "b (h p w q) c -> b (h w) (c p q)", w=columns, p=patch, q=patch)


def taken_apart(tokens: Tensor, columns: int, patch: int) -> Tensor:
    """The tokens [b, m, c] of patches [b, n, C], `columns` in a row."""
    return rearrange(tokens, "b (h w) (c p q) -> b (h p w q) c", w=columns, p=patch, q=patch)
