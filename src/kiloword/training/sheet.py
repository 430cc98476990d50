"""Contact sheets: many pictures on one, to be looked at."""

import math

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from kiloword.pixels import composite

# Axes: b pictures, H W pixels.


def contact_sheet(pixels: Float[Tensor, "b 4 H W"], columns: int, gap: int = 2) -> Image.Image:
    """Premultiplied pictures over white, in rows of `columns`."""
    b, _, height, width = pixels.shape
    rows = math.ceil(b / columns)
    sheet = torch.full((3, rows * (height + gap) + gap, columns * (width + gap) + gap), 0.8)
    for index, picture in enumerate(composite(pixels.float().cpu()).clamp(-1, 1)):
        top, left = gap + index // columns * (height + gap), gap + index % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = picture
    values = sheet.add(1).mul(127.5).round().to(torch.uint8)
    return Image.fromarray(values.movedim(0, -1).numpy())
