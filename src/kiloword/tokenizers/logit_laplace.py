"""The logit-Laplace likelihood: a distribution of pixels that, as pixels do, lies between two bounds.

Ramesh et al. 2021 (DALL-E), appendix A.3: the logit of a pixel has a Laplace distribution.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# Axes: b pictures, c channels, H W pixels; pixels are in [-1, 1].

MARGIN = 0.1  # pixels are kept this far from 0 and 1, where their logits are infinite


def map_pixels(pixels: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
    """Pixels in [-1, 1] to [0.1, 0.9]."""
    return (1 - 2 * MARGIN) * (pixels + 1) / 2 + MARGIN


def unmap_pixels(mapped: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
    """The way back to [-1, 1]; what lies outside [0.1, 0.9] is clipped."""
    return ((mapped - MARGIN) / (1 - 2 * MARGIN)).clamp(0, 1) * 2 - 1


def logit_laplace(
    pixels: Float[Tensor, "b c H W"], mean: Float[Tensor, "b c H W"], log_scale: Float[Tensor, "b c H W"]
) -> Float[Tensor, "b c H W"]:
    """Negative log likelihood, in nats a channel of a pixel, of pixels under Laplace distributions of their logits."""
    mapped = map_pixels(pixels)
    distance = (torch.logit(mapped) - mean).abs() * torch.exp(-log_scale)
    return distance + log_scale + math.log(2) + mapped.log() + torch.log1p(-mapped)
