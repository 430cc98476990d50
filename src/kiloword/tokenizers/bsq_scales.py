"""Binary spherical quantization on grids from coarse to fine, each correcting those before it, flipped bits included.

Han et al. 2024 (Infinity): the bitwise multi-scale residual quantizer and bitwise self-correction.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from kiloword.noise import Noise
from kiloword.tokenizers.bsq import corners, losses_of
from kiloword.tokenizers.quantizer import Quantized, Quantizer, check_latent
from kiloword.tokens import Bits, Layout, in_proportion

# Axes: b pictures, n tokens of all grids, c latent channels (one a bit), h w the finest grid, s t a coarser grid.

Grids = tuple[tuple[int, int], ...]

SQUARES: Grids = tuple((side, side) for side in (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64))
PERCENT = 100  # flips are drawn in whole percents


@dataclass(frozen=True)
class BSQScalesConfig:
    """`schedules` are grids coarse to fine, one schedule a shape of pictures; smaller pictures use its first grids.

    With noise, every bit of the first `flipped_scales` grids flips with a probability that is drawn for each grid and
    picture from 0 to `flip`; Infinity is trained with 0.3. `sharpness` is as in BSQ.
    """

    bits: int = 32
    schedules: tuple[Grids, ...] = (SQUARES,)
    flip: float = 0.0
    flipped_scales: int = len(SQUARES)
    sharpness: float = 100.0

    def __post_init__(self):
        schedules = tuple(tuple((int(h), int(w)) for h, w in grids) for grids in self.schedules)
        object.__setattr__(self, "schedules", schedules)
        if self.bits < 1 or not 0 < self.sharpness < math.inf:
            raise ValueError(f"BSQ has bits and a positive sharpness, got {self.bits} and {self.sharpness}")
        if not 0 <= self.flip <= 1 or self.flipped_scales < 0:
            raise ValueError(f"bits flip with a probability from 0 to 1 on 0 or more grids, got {self.flip} "
                             f"and {self.flipped_scales}")  # fmt: skip
        if not schedules or not all(schedules):
            raise ValueError(f"at least one schedule of at least one grid is needed, got {schedules}")
        for grids in schedules:
            rows, columns = zip(*grids, strict=True)
            if list(rows) != sorted(rows) or list(columns) != sorted(columns) or min(grids[0]) < 1:
                raise ValueError(f"the grids of a schedule become no smaller and start at 1x1, got {grids}")

    def build(self) -> "BSQScales":
        return BSQScales(self)


class BSQScales(nn.Module, Quantizer):
    """A latent is the sum of its grids, each a BSQ code of the residual, enlarged bilinearly. Nothing to learn."""

    def __init__(self, config: BSQScalesConfig):
        super().__init__()
        self.config = config
        self.space = Bits(config.bits)
        self.channels = self.encoder_channels = config.bits

    @property
    def multiscale(self) -> "BSQScales":
        return self

    @property
    def flips(self) -> bool:
        return self.config.flip > 0

    def grids(self, height: int, width: int) -> Grids:
        """Of the schedule nearest in shape, as many grids as that many tokens need, in proportion."""
        grids = self._schedule(height, width)
        return in_proportion(grids[: self._scales_for(grids, height, width)], height, width)

    def frame(self, height: int, width: int) -> tuple[int, int]:
        """The last grid of that schedule, in the same proportion."""
        grids = self._schedule(height, width)
        return in_proportion((grids[-1], grids[self._scales_for(grids, height, width) - 1]), height, width)[0]

    def _schedule(self, height: int, width: int) -> Grids:
        """The schedule nearest in shape."""

        def apart(grids: Grids) -> float:
            rows, columns = grids[-1]
            return abs(math.log(rows * width) - math.log(columns * height))

        return min(self.config.schedules, key=apart)

    def _scales_for(self, grids: Grids, height: int, width: int) -> int:
        """The number of grids up to the first with that many tokens."""
        found = (i for i, (rows, columns) in enumerate(grids, 1) if rows * columns >= height * width)
        return next(found, len(grids))

    def quantize(self, latent: Float[Tensor, "b c h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """Bits of all grids. Later grids encode the residual of `shown`: their `target` corrects flipped bits."""
        check_latent(latent, self.channels, f"BSQ of {self.channels} bits", layout)
        residual, decoded = latent.float(), torch.zeros_like(latent, dtype=torch.float)
        target, shown, losses = [], [], []
        for scale, size in enumerate(layout.sizes):
            unit = normalize(interpolate(residual, size, mode="area"), dim=1)
            bits = (unit > 0).long()
            flipped = self._flipped(bits, scale, noise)
            corner = corners(flipped)
            stroke = interpolate(unit + (corner - unit).detach(), layout.sizes[-1], mode="bilinear")
            residual, decoded = residual - stroke.detach(), decoded + stroke
            target.append(bits.flatten(2))
            shown.append(flipped.flatten(2))
            losses.append(losses_of(unit, corners(bits), self.config.sharpness))
        means = {name: torch.stack([loss[name] for loss in losses]).mean() for name in losses[0]}
        target, shown = (rearrange(torch.cat(bits, dim=2), "b c n -> b n c") for bits in (target, shown))
        return Quantized(target, shown, decoded, means)

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """The sum over all grids of corners of bits, or of mean corners under probabilities of 1."""
        return self._sum(tokens, layout, len(layout.sizes))

    def canvas(self, shown: Tensor, layout: Layout, scale: int) -> Float[Tensor, "b c s t"]:
        """The sum of the grids before `scale`, shrunk bilinearly: the input of Infinity's transformer.

        (The authors' tokenizer averages areas there, but its result is unused.)
        """
        return self.shrink(self._sum(shown, layout, scale), layout, scale)

    def shrink(self, canvas: Float[Tensor, "b c h w"], layout: Layout, scale: int) -> Float[Tensor, "b c s t"]:
        """Resized bilinearly to grid `scale`."""
        return interpolate(canvas, layout.sizes[scale], mode="bilinear")

    def stroke(self, tokens: Tensor, layout: Layout, scale: int) -> Float[Tensor, "b c h w"]:
        """The corners of one grid's bits, enlarged bilinearly."""
        corner = corners(rearrange(tokens, "b (s t) c -> b c s t", s=layout.sizes[scale][0]))
        return interpolate(corner, layout.sizes[-1], mode="bilinear")

    def _sum(self, tokens: Tensor, layout: Layout, scales: int) -> Float[Tensor, "b c h w"]:
        """The sum of the first `scales` grids."""
        canvas = torch.zeros(len(tokens), self.channels, *layout.sizes[-1], device=tokens.device)
        for scale in range(scales):
            canvas = canvas + self.stroke(tokens[:, layout.part(scale)], layout, scale)
        return canvas

    def _flipped(self, bits: Tensor, scale: int, noise: Noise | None) -> Tensor:
        """The bits shown to later grids: a rate of flips is drawn for each picture, then a flip for each bit."""
        if noise is None or not self.config.flip or scale >= self.config.flipped_scales:
            return bits
        pictures, values = torch.arange(len(bits)), round(self.config.flip * PERCENT) + 1
        rate = (noise.uniform((1, 1, 1), pictures) * values).floor() / PERCENT
        flips = noise.uniform(tuple(bits.shape[1:]), pictures) < rate
        return torch.where(flips.to(bits.device), 1 - bits, bits)
