"""Details: a feature space that sees at full size what spaces of small pictures leave out: how much is fine, and where.

Burt and Adelson 1983 (The Laplacian Pyramid as a Compact Image Code) for the octaves; square roots of what is summed
up, as Arandjelovic and Zisserman 2012 take them, so that a few strong edges do not drown the rest.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

from kiloword.pixels import composite, from_bytes

# Axes: n b pictures, d features, H W pixels.

OCTAVES, CELLS = 3, 8
MEANING = (
    f"on white, grey: the {OCTAVES} finest octaves of a pyramid of 2x2 means (what each loses against itself halved "
    f"and doubled again), the root of their mean amount in {CELLS}x{CELLS} cells"
)
_CHUNK = 128


def details(pixels: UInt8[Tensor, "n 4 H W"]) -> Float[Tensor, "n d"]:
    """The root of the mean amount of each octave in each cell, octave by octave, the finest first.

    Raises ValueError if the sides are no multiples of what the coarsest octave halves.
    """
    height, width = pixels.shape[-2:]
    if height % 2**OCTAVES or width % 2**OCTAVES:
        raise ValueError(f"details need sides that are multiples of {2**OCTAVES}, got {width}x{height}")
    return torch.cat([_details(chunk) for chunk in pixels.split(_CHUNK)])


def _details(pixels: UInt8[Tensor, "b 4 H W"]) -> Float[Tensor, "b d"]:
    picture = (composite(from_bytes(pixels)).mean(1, keepdim=True) + 1) / 2
    found = []
    for _ in range(OCTAVES):
        half = avg_pool2d(picture, 2)
        lost = (picture - interpolate(half, scale_factor=2.0, mode="bilinear", align_corners=False)).abs()
        found.append(adaptive_avg_pool2d(lost, CELLS).sqrt().flatten(1))
        picture = half
    return torch.cat(found, dim=1)
