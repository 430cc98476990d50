"""Contact sheets: many pictures on one, to be looked at; drawn, true and nearest picture side by side."""

import math
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from kiloword.pixels import composite, from_bytes

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


def comparison(
    drawn: UInt8[Tensor, "b 4 H W"],
    true: UInt8[Tensor, "b 4 H W"],
    nearest: UInt8[Tensor, "b 4 H W"],
    path: Path | None = None,
    prompts_a_row: int = 6,
) -> Image.Image:
    """Drawn | true | nearest, three pictures a prompt; saved as a file if `path` is given."""
    threes = torch.stack([drawn, true, nearest], dim=1).flatten(0, 1)
    image = contact_sheet(from_bytes(threes), columns=3 * max(1, min(prompts_a_row, len(drawn))))
    if path is not None:
        image.save(path)
    return image
