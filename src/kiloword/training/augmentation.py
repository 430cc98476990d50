"""Augmentation of pictures: small random shifts, changes of scale and of colour, never a flip.

Krizhevsky et al. 2012 for the idea; clocks, arrows and letters have a side, so nothing is mirrored.
"""

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

# Axes: b pictures, H W pixels.


def to_bytes(image: Image.Image, side: int) -> UInt8[Tensor, "4 H W"]:
    """A picture as bytes of premultiplied RGBA, fitted into a square and centred."""
    image = image.convert("RGBA").convert("RGBa")
    if image.size != (side, side):
        share = side / max(image.size)
        size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
        square = Image.new("RGBa", (side, side))
        square.paste(image.resize(size, Image.Resampling.LANCZOS), ((side - size[0]) // 2, (side - size[1]) // 2))
        image = square
    return torch.from_numpy(np.array(image)).movedim(-1, 0).contiguous()


def shrink(values: UInt8[Tensor, "b 4 H W"], side: int) -> Float[Tensor, "b 4 side side"]:
    """Pictures in [-1, 1] at a smaller size, each pixel the mean of those it covers."""
    pixels = values.float() / 127.5 - 1
    return avg_pool2d(pixels, values.shape[-1] // side) if values.shape[-1] > side else pixels


def vary(values: UInt8[Tensor, "b 4 H W"], side: int, generator: torch.Generator | None = None) -> Tensor:
    """Random variants [b, 4, side, side] in [-1, 1]: shifted by up to 6%, scaled by 0.88 to 1.08, recoloured a bit."""
    b = len(values)

    def between(low: float, high: float) -> Tensor:
        return torch.rand(b, generator=generator) * (high - low) + low

    zoom = 1 / between(0.88, 1.08)
    stretch = between(0.97, 1.03)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zoom * stretch, zoom / stretch
    theta[:, 0, 2], theta[:, 1, 2] = between(-0.12, 0.12), between(-0.12, 0.12)
    pixels = values.float() / 255
    grid = affine_grid(theta, list(pixels.shape), align_corners=False)
    pixels = grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    pixels = avg_pool2d(pixels, pixels.shape[-1] // side) if pixels.shape[-1] > side else pixels
    colour, alpha = pixels.split([3, 1], dim=1)
    gain = torch.stack([between(0.93, 1.07) for _ in range(3)], dim=1)[:, :, None, None]
    gain = gain * between(0.92, 1.08)[:, None, None, None]
    lift = between(-0.03, 0.03)[:, None, None, None]
    colour = (colour * gain + lift * alpha).clamp(min=0).minimum(alpha)
    return torch.cat([colour, alpha], dim=1) * 2 - 1


def shuffled(weights: Float[Tensor, "n"], iteration: int, count: int, seed: int) -> Int[Tensor, "count"]:
    """Indices of `count` examples, drawn with their weights: a function of the iteration's number and the seed."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + iteration)
    return torch.multinomial(weights, count, replacement=count > len(weights), generator=generator)
