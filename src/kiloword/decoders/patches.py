"""Patches and their bands: a picture as units that can be finished one after the other, in space or in frequency.

A patch is written in its orthonormal cosine transform (Ahmed et al. 1974), which leaves white noise white; its
coefficients fall into dyadic bands, the mean first. Lee et al. 2023 (groupwise diffusion) diffuse such bands in turn.
"""

import math
from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

# Axes: b pictures, c channels, H W pixels, n patches in raster order, d coefficients of a patch, k bands.


class Patches(nn.Module):
    """Pictures as patches of `side` pixels, each as its coefficients, band by band."""

    matrix: Tensor
    order: Tensor
    band: Tensor

    def __init__(self, side: int, channels: int):
        super().__init__()
        if side < 1 or side & (side - 1):
            raise ValueError(f"the side of a patch is a power of 2, got {side}")
        self.side, self.channels, self.bands = side, channels, side.bit_length()
        frequency = torch.maximum(*torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten()
        band = torch.where(frequency > 0, frequency.float().clamp(min=1).log2().floor().long() + 1, 0)
        band = band.repeat_interleave(channels)  # coefficients are stored frequency by frequency, its channels together
        order = band.argsort(stable=True)
        self.register_buffer("matrix", cosines(side), persistent=False)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("band", band[order], persistent=False)

    @property
    def dim(self) -> int:
        """Coefficients of a patch."""
        return self.channels * self.side**2

    def split(self, pixels: Float[Tensor, "b c H W"]) -> Float[Tensor, "b n d"]:
        """Raises ValueError if the sides are no multiples of the patch's."""
        height, width = pixels.shape[-2:]
        if height % self.side or width % self.side:
            raise ValueError(f"pictures fall into patches of {self.side} pixels a side: {height}x{width} does not")
        cut = rearrange(pixels, "b c (h p) (w q) -> b (h w) c p q", p=self.side, q=self.side)
        turned = rearrange(self.matrix @ cut @ self.matrix.T, "b n c p q -> b n (p q c)")
        return turned[..., self.order]

    def join(self, patches: Float[Tensor, "b n d"], rows: int) -> Float[Tensor, "b c H W"]:
        """The picture of patches that form a grid of `rows` rows."""
        plain = torch.empty_like(patches)
        plain[..., self.order] = patches
        cut = rearrange(plain, "b n (p q c) -> b n c p q", p=self.side, q=self.side)
        return rearrange(self.matrix.T @ cut @ self.matrix, "b (h w) c p q -> b c (h p) (w q)", h=rows)

    def spread(self, level: Float[Tensor, "*b k"]) -> Float[Tensor, "*b d"]:
        """One value for each band, spread over the band's coefficients."""
        return level[..., self.band]


def cosines(side: int) -> Float[Tensor, "p p"]:
    """The orthonormal cosine transform (DCT-II): row u is the wave of frequency u."""
    u, x = torch.arange(side).double()[:, None], torch.arange(side).double()[None]
    waves = torch.cos(math.pi * (x + 0.5) * u / side) * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    return waves.float()


# In which order units are finished: the place of each (patch, band), from 0 on, for so many rows, columns and bands.
GROUPINGS: dict[str, Callable[[int, int, int], Int[Tensor, "n k"]]] = {}


def grouping(name: str) -> Callable:
    """Writes a function down in the table."""

    def write(places: Callable[[int, int, int], Tensor]) -> Callable:
        GROUPINGS[name] = places
        return places

    return write


@grouping("rows")
def top_down(rows: int, columns: int, bands: int) -> Int[Tensor, "n k"]:
    """Row after row from the top, each from the left."""
    return torch.arange(rows * columns)[:, None].expand(-1, bands)


@grouping("rows-up")
def bottom_up(rows: int, columns: int, bands: int) -> Int[Tensor, "n k"]:
    """The same from the bottom: the order that Lee et al. 2023 found best."""
    return top_down(rows, columns, bands).flip(0)


@grouping("centre")
def from_centre(rows: int, columns: int, bands: int) -> Int[Tensor, "n k"]:
    """The nearest to the middle first."""
    y = (torch.arange(rows) - (rows - 1) / 2).abs() / rows
    x = (torch.arange(columns) - (columns - 1) / 2).abs() / columns
    far = torch.maximum(y[:, None], x[None]).flatten()
    return far.argsort(stable=True).argsort()[:, None].expand(-1, bands)


@grouping("frequency")
def coarse_first(rows: int, columns: int, bands: int) -> Int[Tensor, "n k"]:
    """All patches at once, the low frequencies first."""
    return torch.arange(bands)[None].expand(rows * columns, -1)
