"""Pyramid: a tokenizer around a tokenizer that adds smaller versions of the picture as drafts.

The layout of GLM-Image (Zhipu AI 2026), which draws a small preview grid before the full one; Burt and Adelson 1983 for
the pyramid.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kiloword.noise import Noise
from kiloword.tokenizers.quantizer import Quantized
from kiloword.tokenizers.tokenizer import Tokenizer, TokenizerConfig
from kiloword.tokens import Layout

# Axes: b pictures, n tokens of all grids, H W pixels.


@dataclass(frozen=True)
class PyramidConfig:
    """`shrink` are the factors by which drafts are smaller than the picture, largest first."""

    tokenizer: TokenizerConfig
    shrink: tuple[int, ...] = (2,)

    def __post_init__(self):
        object.__setattr__(self, "shrink", tuple(self.shrink))
        if not self.shrink or min(self.shrink) < 2 or list(self.shrink) != sorted(self.shrink, reverse=True):
            raise ValueError(f"drafts shrink by factors of at least 2, the largest first; got {self.shrink}")

    def build(self) -> "Pyramid":
        return Pyramid(self)


class Pyramid(nn.Module, Tokenizer):
    """Encodes every size with the same tokenizer; decodes the finest grid, and drafts where it is unknown."""

    drafts = True

    def __init__(self, config: PyramidConfig):
        super().__init__()
        self.config = config
        self.tokenizer = config.tokenizer.build()

    @property
    def space(self):
        return self.tokenizer.space

    def layout(self, height: int, width: int) -> Layout:
        for shrink in self.config.shrink:
            if height % shrink or width % shrink:
                raise ValueError(f"a draft {shrink} times smaller than {height}x{width} has no whole number of pixels")
        grids = [self.tokenizer.layout(height // s, width // s).sizes[-1] for s in (*self.config.shrink, 1)]
        return Layout(tuple(grids))

    @property
    def stride(self) -> int:
        """Pixels a side that a token of the finest grid covers."""
        return self.tokenizer.stride

    @property
    def channels(self) -> int:
        """Channels of its pictures: 4 (RGBA) or 3 (RGB)."""
        return self.tokenizer.channels

    @property
    def groups(self) -> int:
        """Groups of codes a token, the most important first."""
        return self.tokenizer.groups

    def grid(self, layout: Layout, scale: int) -> Layout:
        """The layout of one of the grids, in the frame of the picture."""
        return Layout((layout.sizes[scale],), layout.frame)

    def encode(self, pixels: Float[Tensor, "b c H W"], layout: Layout, noise: Noise | None = None) -> Quantized:
        parts = []
        for scale, shrink in enumerate((*self.config.shrink, 1)):
            small = interpolate(pixels, scale_factor=1 / shrink, mode="area") if shrink > 1 else pixels
            parts.append(self.tokenizer.encode(small, self.grid(layout, scale), noise))
        target = torch.cat([part.target for part in parts], dim=1)
        return Quantized(target=target, shown=target, latent=parts[-1].latent, losses=parts[-1].losses)

    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]:
        """The finest grid where its tokens are known, else the next coarser one enlarged; -1 where nothing is."""
        height, width = (side * self.stride for side in layout.sizes[-1])
        picture = None
        for scale, (h, w) in enumerate(layout.sizes):
            part = layout.part(scale)
            if picture is not None and not known[:, part].any():
                continue
            drawn = self.tokenizer.decode(tokens[:, part], self.grid(layout, scale), known[:, part])
            drawn = interpolate(drawn, size=(height, width), mode="bilinear", antialias=False)
            mask = known[:, part].view(-1, 1, h, w).to(drawn)
            mask = interpolate(mask, size=(height, width), mode="nearest")
            under = torch.full_like(drawn, -1.0) if picture is None else picture
            picture = torch.lerp(under, drawn, mask)
        assert picture is not None
        return picture
