"""Feature spaces in which two pictures are near when they look alike; no network, so the same for every model.

Mean-pooled pixels (Torralba, Fergus, Freeman 2008, "80 Million Tiny Images"); histograms of oriented gradients (Dalal
and Triggs 2005). Pictures are composited on white first; distances are Euclidean.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

from kiloword.pixels import composite, from_bytes

# Axes: n m b pictures, d features, H W pixels, h w cells.

SIDE = 16
_CHUNK = 512
_BINS = 8
_HISTOGRAM_SPREAD, _COLOUR_SPREAD = 6.0, 1.25  # root mean square distances from the mean, over the emoji set


def pooled(pixels: UInt8[Tensor, "b 4 H W"]) -> Float[Tensor, "b d"]:
    """16x16 means of red, green and blue in [0, 1]."""
    return _on_white(pixels, SIDE).flatten(1)


def gradients(pixels: UInt8[Tensor, "b 4 H W"]) -> Float[Tensor, "b d"]:
    """Histograms of oriented gradients in 8x8 cells, and 4x4 mean colours, each part scaled to spread 1."""
    picture = _on_white(pixels, 32)
    histogram = _histograms(picture).flatten(1) / _HISTOGRAM_SPREAD
    colour = adaptive_avg_pool2d(picture, 4).flatten(1) / _COLOUR_SPREAD
    return torch.cat([histogram, colour], dim=1)


SPACES: dict[str, Callable[[Tensor], Tensor]] = {"pixels": pooled, "gradients": gradients}
MEANING = {
    "pixels": "16x16 mean-pooled RGB on white, Euclidean distance",
    "gradients": (
        "on white, mean-pooled to 32x32: central differences of the steepest channel, 8 signed directions (linear "
        "between neighbours), summed over 8x8 cells of 4x4 pixels, each cell divided by the root of the mean square "
        f"of its 3x3 neighbourhood plus 0.25; with 4x4 mean RGB; the parts divided by {_HISTOGRAM_SPREAD} and "
        f"{_COLOUR_SPREAD}, their spread in the emoji set; Euclidean distance"
    ),
}


def features(space: str, pixels: UInt8[Tensor, "n 4 H W"]) -> Float[Tensor, "n d"]:
    """The features of many pictures in one of the `SPACES`."""
    return torch.cat([SPACES[space](chunk) for chunk in pixels.split(_CHUNK)])


def distances(first: Float[Tensor, "n d"], second: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Euclidean distances, in double precision so that equal pictures are at 0."""
    first, second = first.double(), second.double()
    squares = first.square().sum(1)[:, None] + second.square().sum(1)[None] - 2 * first @ second.T
    return squares.clamp(min=0).sqrt()


def _on_white(pixels: UInt8[Tensor, "b 4 H W"], side: int) -> Float[Tensor, "b 3 h w"]:
    """Means of side x side cells in [0, 1]; means may be taken before compositing, which is linear."""
    return (composite(from_bytes(adaptive_avg_pool2d(pixels.float(), side))) + 1) / 2


def _histograms(picture: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k h w"]:
    edged = pad(picture, (1, 1, 1, 1), mode="replicate")
    across = (edged[..., 1:-1, 2:] - edged[..., 1:-1, :-2]) / 2
    down = (edged[..., 2:, 1:-1] - edged[..., :-2, 1:-1]) / 2
    steepest = (across.square() + down.square()).argmax(1, keepdim=True)
    across, down = across.gather(1, steepest), down.gather(1, steepest)
    size = (across.square() + down.square()).sqrt()
    direction = torch.atan2(down, across) / (2 * math.pi) * _BINS % _BINS
    centre = torch.arange(_BINS).view(1, -1, 1, 1)
    difference = (direction - centre).abs()
    share = (1 - torch.minimum(difference, _BINS - difference)).clamp(min=0)
    cells = avg_pool2d(share * size, 4) * 16
    energy = avg_pool2d(pad(cells.square().sum(1, keepdim=True), (1, 1, 1, 1)), 3, 1)
    return cells / (energy + 0.25).sqrt()
