"""Pixels: pictures as tensors. RGBA with premultiplied alpha inside the models, straight alpha at the edges.

Premultiplied alpha after Porter and Duff 1984 (Compositing Digital Images).
"""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

# Axes: b pictures, c channels, H rows and W columns of pixels. Channels are red, green, blue, alpha in [-1, 1].


def from_image(image: Image.Image, size: tuple[int, int] | None = None) -> Float[Tensor, "4 H W"]:
    """A picture as premultiplied RGBA, resized to `size` (rows, columns) if given: means when shrinking."""
    premultiplied = image.convert("RGBA").convert("RGBa")
    if size is not None and premultiplied.size != size[::-1]:
        grows = size[0] > image.height or size[1] > image.width
        filter = Image.Resampling.LANCZOS if grows else Image.Resampling.BOX
        premultiplied = premultiplied.resize((size[1], size[0]), filter)
    return from_bytes(torch.from_numpy(np.array(premultiplied)).movedim(-1, 0))


def from_bytes(values: Tensor) -> Tensor:
    """Bytes of premultiplied RGBA as numbers in [-1, 1]."""
    return values.float().div_(127.5).sub_(1)


def to_image(pixels: Float[Tensor, "4 H W"]) -> Image.Image:
    """A premultiplied picture as a straight RGBA image; colours are clipped to their alpha."""
    colour, alpha = (pixels.detach().float().cpu().clamp(-1, 1) + 1).div(2).split([3, 1])
    straight = torch.where(alpha > 1 / 510, colour / alpha.clamp(min=1 / 510), torch.zeros(())).clamp(0, 1)
    values = torch.cat([straight, alpha]).mul(255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(rearrange(values, "c h w -> h w c").numpy()), mode=None)


def composite(pixels: Float[Tensor, "*b 4 H W"], background: float = 1.0) -> Float[Tensor, "*b 3 H W"]:
    """Premultiplied pictures laid over a grey of [-1, 1] (1 is white)."""
    colour, alpha = pixels.split([3, 1], dim=-3)
    return colour + (1 - alpha) / 2 * (background + 1)


def psnr(first: Float[Tensor, "b 4 H W"], second: Float[Tensor, "b 4 H W"]) -> Float[Tensor, "b"]:
    """Peak signal-to-noise ratio in dB of each picture, both composited on white and clipped to what can be shown."""
    first, second = composite(first).clamp(-1, 1), composite(second).clamp(-1, 1)
    error = ((first - second) / 2).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp(min=1e-10).log10()
