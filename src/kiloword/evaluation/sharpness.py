"""Sharpness: how much of a picture changes from one pixel to the next, whatever it shows.

Subbarao, Choi and Nikzad 1993 (Focusing Techniques): the energy of the Laplacian, with which lenses are focused.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from kiloword.pixels import composite

# Axes: b pictures, H W pixels.

LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def sharpness(pixels: Float[Tensor, "b 4 H W"]) -> Float[Tensor, "b"]:
    """The mean square of each picture's Laplacian, on white, with colours in [0, 1]; 0 where nothing changes.

    Noise counts too: only beside a likeness (PSNR, SSIM) does more of it mean better. Raises ValueError for pictures
    smaller than 3x3 pixels.
    """
    height, width = pixels.shape[-2:]
    if min(height, width) < 3:
        raise ValueError(f"sharpness needs pictures of at least 3x3 pixels, got {width}x{height}")
    colours = (composite(pixels).clamp(-1, 1) + 1) / 2
    kernel = torch.tensor(LAPLACIAN).to(colours).expand(3, 1, 3, 3)
    return conv2d(colours, kernel, groups=3).square().mean(dim=(1, 2, 3))
