"""Finite scalar quantization: round every latent channel to a few levels, no codebook to learn.

Mentzer et al. 2023 (Finite Scalar Quantization: VQ-VAE Made Simple), listing in appendix A.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kiloword.noise import Noise
from kiloword.tokenizers.quantizer import UNKNOWN, Quantized, Quantizer, check_latent
from kiloword.tokens import Codes, Layout

# Axes: b pictures, n tokens, f factors of a token, c = f latent channels, h w grid.


@dataclass(frozen=True)
class FSQConfig:
    """`levels` of each channel; a token has `groups` such tuples, the first of which matter most."""

    levels: tuple[int, ...] = (8, 8, 8, 5, 5)
    groups: int = 1

    def __post_init__(self):
        object.__setattr__(self, "levels", tuple(self.levels))
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"FSQ needs at least 2 levels a channel, got {self.levels}")
        if self.groups < 1:
            raise ValueError(f"FSQ needs at least one group of codes a token, got {self.groups}")

    def build(self) -> "FSQ":
        return FSQ(self)


class FSQ(nn.Module, Quantizer):
    """Bounded by tanh, rounded, gradients straight through."""

    reach: Tensor
    offset: Tensor
    shift: Tensor
    centre: Tensor

    def __init__(self, config: FSQConfig):
        super().__init__()
        levels = config.levels * config.groups
        self.config = config
        self.space, self.groups = Codes(levels), config.groups
        self.channels = self.encoder_channels = len(levels)
        half = [(level - 1) * 1.001 / 2 for level in levels]
        offset = [0.0 if level % 2 else 0.5 for level in levels]
        self.register_buffer("reach", torch.tensor(half), persistent=False)
        self.register_buffer("offset", torch.tensor(offset), persistent=False)
        shift = [math.atanh(o / h) for o, h in zip(offset, half, strict=True)]
        self.register_buffer("shift", torch.tensor(shift), persistent=False)
        self.register_buffer("centre", torch.tensor([level // 2 for level in levels]), persistent=False)

    def quantize(self, latent: Float[Tensor, "b c h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """Codes in raster order; the latent returned is `lookup` of them, with the gradient of the bounded latent."""
        check_latent(latent, self.encoder_channels, f"FSQ of {self.space}")
        vectors = rearrange(latent.float(), "b c h w -> b (h w) c")
        bounded = torch.tanh(vectors + self.shift) * self.reach - self.offset
        codes = bounded.detach().round().long() + self.centre
        straight = bounded + (bounded.round() - bounded).detach()
        looked_up = rearrange(straight / self.centre, "b (h w) c -> b c h w", h=latent.shape[2])
        return Quantized(target=codes, shown=codes, latent=looked_up)

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """Latents in [-1, 1] of codes, or their means under distributions."""
        if tokens.is_floating_point():
            levels = torch.arange(tokens.shape[-1], device=tokens.device)
            total = tokens.sum(-1)
            values = (tokens @ levels.to(tokens) - total * self.centre) / self.centre
        else:
            values = (tokens - self.centre) / self.centre
            values = torch.where(tokens == UNKNOWN, torch.zeros_like(values), values)
        return rearrange(values, "b (h w) c -> b c h w", h=layout.sizes[-1][0])

    def unbounded(self, latent: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The encoder output that `quantize` maps to this looked-up latent: the inverse of the tanh."""
        shape = (1, -1, 1, 1)
        inside = latent * self.centre.view(shape) + self.offset.view(shape)
        return torch.atanh(inside / self.reach.view(shape)) - self.shift.view(shape)
