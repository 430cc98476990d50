"""MBConv: convolutional blocks that are wide inside and narrow outside, with layer norms over the channels.

Sandler et al. 2018 (MobileNetV2) for the inverted bottleneck; as in Chen et al. 2023 (ViTamin).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, layer_norm

# Axes: b pictures, c channels, h w grid, i o channels before and after, r s grid after.


class MBConv(nn.Module):
    """Norm, widen four times, depthwise convolution, narrow again; plus the shortcut.

    `enlarge` acts on the wide middle; `stride` 2 halves the grid; `shortcut` replaces the identity where sizes differ.
    """

    def __init__(
        self, inside: int, outside: int, stride: int = 1, enlarge: nn.Module | None = None,
        shortcut: nn.Module | None = None,
    ):  # fmt: skip
        super().__init__()
        wide = wide_middle(outside)
        self.norm = ChannelNorm(inside)
        self.widen = nn.Conv2d(inside, wide, 1)
        self.enlarge = enlarge or nn.Identity()
        self.depthwise = nn.Conv2d(wide, wide, 3, stride, padding=1, groups=wide)
        self.narrow = nn.Conv2d(wide, outside, 1)
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o r s"]:
        change = gelu(self.widen(self.norm(x)))
        change = gelu(self.depthwise(self.enlarge(change)))
        return self.shortcut(x) + self.narrow(change)


def wide_middle(outside: int) -> int:
    """Four times the width, rounded up to a multiple of 8."""
    return (4 * outside + 7) // 8 * 8


def halving(inside: int, outside: int, count: int) -> nn.Sequential:
    """`count` blocks, the first of which halves the grid."""
    pool = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
    fit = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()
    first = MBConv(inside, outside, stride=2, shortcut=nn.Sequential(pool, fit))
    return nn.Sequential(first, *(MBConv(outside, outside) for _ in range(count - 1)))


def doubling(inside: int, outside: int, count: int) -> nn.Sequential:
    """`count` blocks, the first of which doubles the grid."""
    wide = wide_middle(outside)
    first = MBConv(inside, outside, enlarge=Enlarge(wide, wide), shortcut=Enlarge(inside, outside))
    return nn.Sequential(first, *(MBConv(outside, outside) for _ in range(count - 1)))


class Enlarge(nn.Module):
    """Nearest-neighbour enlargement by 2, then a convolution."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, padding=1)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o r s"]:
        return self.conv(interpolate(x, scale_factor=2, mode="nearest"))


class ChannelNorm(nn.Module):
    """A layer norm over the channels of each grid position."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, eps=1e-6).movedim(-1, 1)
