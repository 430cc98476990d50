"""Fitting: a picture of any size and colours made into what a tokenizer takes, and its pictures made showable again.

Resized with its shape kept and padded, never stretched; alpha stays where the tokenizer has it and is laid over white
elsewhere (Porter and Duff 1984).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from kiloword.pixels import composite, from_image
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Layout

# Axes: b pictures, c the tokenizer's channels, H W pixels.

LARGEST = 1024 * 1024  # pixels of a picture whose size nobody asked for
MOST = 4096 * 4096  # pixels of a picture whose size somebody asked for
WIDEST = 1024  # a tokenizer that takes few sizes takes one up to this side


@dataclass(frozen=True)
class Fitted:
    """A picture as a tokenizer takes it: `box` is where it lies (top, left, rows, columns), around it is padding."""

    pixels: Float[Tensor, "1 c H W"]
    layout: Layout
    box: tuple[int, int, int, int]
    before: tuple[int, int]  # rows and columns of the picture's file

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the pixels."""
        return self.pixels.shape[2], self.pixels.shape[3]

    @property
    def notice(self) -> str | None:
        """What was done to the picture, or None where nothing was."""
        told = [f"resized to {_by(self.box[2:])}"] if self.box[2:] != self.before else []
        told += [f"padded to {_by(self.size)}"] if self.box[2:] != self.size else []
        return " and ".join(told) or None

    def inside(self, pixels: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c s t"]:
        """Pictures of this size without the padding."""
        top, left, rows, columns = self.box
        return pixels[:, :, top : top + rows, left : left + columns]


def fit(tokenizer: Tokenizer, picture: Image.Image, size: tuple[int, int] | None = None) -> Fitted:
    """A picture at `size` (rows, columns), or at the allowed size nearest to its own.

    Raises ValueError if the tokenizer doesn't take `size`, with one that it takes.
    """
    before = (picture.height, picture.width)
    if size is not None and size[0] * size[1] > MOST:
        raise ValueError(f"{_by(size)} are more than {MOST:,} pixels: choose a smaller size")
    if size is not None and not allows(tokenizer, *size):
        near = nearest_size(tokenizer, *(max(1, side) for side in size))
        raise ValueError(f"this tokenizer takes no pictures of {_by(size)} pixels: the nearest size is {_by(near)}")
    height, width = size or nearest_size(tokenizer, *before)
    pixels, box = laid(picture, (height, width))
    pixels = pixels if tokenizer.channels == 4 else composite(pixels)
    return Fitted(pixels[None], tokenizer.layout(height, width), box, before)


def laid(picture: Image.Image, size: tuple[int, int]) -> tuple[Float[Tensor, "4 H W"], tuple[int, int, int, int]]:
    """A picture as large as it goes into `size` (rows, columns), transparent around it, and the box where it lies."""
    (height, width), before = size, (picture.height, picture.width)
    scale = min(height / before[0], width / before[1])
    rows, columns = (max(1, round(side * scale)) for side in before)
    top, left = (height - rows) // 2, (width - columns) // 2
    small = from_image(picture, (rows, columns))
    pixels = pad(small, (left, width - columns - left, top, height - rows - top), value=-1.0)
    return pixels, (top, left, rows, columns)


def nearest_size(tokenizer: Tokenizer, height: int, width: int) -> tuple[int, int]:
    """The size that the tokenizer takes and that is nearest to this one, of at most about `LARGEST` pixels."""
    shrink = min(1.0, math.sqrt(LARGEST / (height * width)))
    if shrink == 1 and allows(tokenizer, height, width):
        return height, width
    for size in _sizes(tokenizer.stride, height * shrink, width * shrink):
        if allows(tokenizer, *size):
            return size
    raise ValueError(f"this tokenizer takes no size up to {WIDEST}x{WIDEST} pixels")


def allows(tokenizer: Tokenizer, height: int, width: int) -> bool:
    """Whether the tokenizer takes pictures of this size."""
    try:
        tokenizer.layout(height, width)
    except ValueError:
        return False
    return True


def showable(pixels: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 4 H W"]:
    """A tokenizer's pictures as premultiplied RGBA of what a screen can show: no colour above its alpha."""
    pixels = pixels.detach().float().clamp(-1, 1)
    if pixels.shape[1] == 3:
        return torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)
    return torch.cat([pixels[:, :3].minimum(pixels[:, 3:]), pixels[:, 3:]], dim=1)


def _sizes(stride: int, height: float, width: float) -> Iterator[tuple[int, int]]:
    """Sizes in multiples of the stride, about the nearest first."""
    rows, columns = (
        sorted(range(stride, max(WIDEST, round(side)) + stride, stride), key=lambda n: abs(math.log(n / side)))
        for side in (height, width)
    )
    for rank in range(len(rows) + len(columns) - 1):
        for first in range(max(0, rank - len(columns) + 1), min(rank, len(rows) - 1) + 1):
            yield rows[first], columns[rank - first]


def _by(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"
