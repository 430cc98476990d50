"""Structural similarity: do two pictures agree in brightness, contrast and structure, window by window?

Wang et al. 2004 (Image Quality Assessment: From Error Visibility to Structural Similarity), equations 13 to 17.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from kiloword.pixels import composite

# Axes: b pictures, c channels, H W pixels.

WINDOW, SIGMA = 11, 1.5  # pixels a side of the Gaussian window, and its standard deviation
K1, K2 = 0.01, 0.03


def ssim(first: Float[Tensor, "b 4 H W"], second: Float[Tensor, "b 4 H W"]) -> Float[Tensor, "b"]:
    """Mean similarity of each picture, 1 for equal ones; composited on white, the mean over red, green and blue.

    The window lies within the picture everywhere. Raises ValueError for pictures smaller than it.
    """
    height, width = first.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {WINDOW}x{WINDOW} pixels, got {width}x{height}")
    x, y = ((composite(pixels).clamp(-1, 1) + 1) / 2 for pixels in (first, second))
    mean_x, mean_y = blurred(x), blurred(y)
    variance_x = blurred(x * x) - mean_x.square()
    variance_y = blurred(y * y) - mean_y.square()
    covariance = blurred(x * y) - mean_x * mean_y
    brightness = (2 * mean_x * mean_y + K1**2) / (mean_x.square() + mean_y.square() + K1**2)
    structure = (2 * covariance + K2**2) / (variance_x + variance_y + K2**2)
    return (brightness * structure).mean(dim=(1, 2, 3))


def blurred(pictures: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c s t"]:
    """Gaussian means of every window that lies within the pictures."""
    offset = torch.arange(WINDOW, device=pictures.device) - WINDOW // 2
    weights = torch.exp(-offset.square() / (2 * SIGMA**2)).to(pictures)
    weights = weights / weights.sum()
    flat = rearrange(pictures, "b c H W -> (b c) 1 H W")
    flat = conv2d(conv2d(flat, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return rearrange(flat, "(b c) 1 s t -> b c s t", b=len(pictures))
