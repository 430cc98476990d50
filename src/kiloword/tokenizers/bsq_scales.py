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
    picture from 0 to `flip`; Infinity learns with 0.3. `sharpness` is as in BSQ.
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
    """A latent is the sum of its grids, each a BSQ code of what is left, enlarged bilinearly. Nothing to learn."""

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
        """Of the schedule nearest in shape, as many grids as it takes to cover that many places, in proportion."""
        grids = self._schedule(height, width)
        return in_proportion(grids[: self._enough(grids, height, width)], height, width)

    def frame(self, height: int, width: int) -> tuple[int, int]:
        """The last grid of that schedule, in the same proportion."""
        grids = self._schedule(height, width)
        return in_proportion((grids[-1], grids[self._enough(grids, height, width) - 1]), height, width)[0]

    def _schedule(self, height: int, width: int) -> Grids:
        """The one nearest in shape."""

        def apart(grids: Grids) -> float:
            rows, columns = grids[-1]
            return abs(math.log(rows * width) - math.log(columns * height))

        return min(self.config.schedules, key=apart)

    def _enough(self, grids: Grids, height: int, width: int) -> int:
        """How many grids it takes to cover that many places."""
        enough = (i for i, (rows, columns) in enumerate(grids, 1) if rows * columns >= height * width)
        return next(enough, len(grids))

    def quantize(self, latent: Float[Tensor, "b c h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """Bits of all grids. Later grids see the bits `shown`, so that their `target` makes up for flipped ones."""
        check_latent(latent, self.channels, f"BSQ of {self.channels} bits", layout)
        left, painted = latent.float(), torch.zeros_like(latent, dtype=torch.float)
        target, shown, losses = [], [], []
        for scale, size in enumerate(layout.sizes):
            unit = normalize(interpolate(left, size, mode="area"), dim=1)
            bits = (unit > 0).long()
            seen = self._flipped(bits, scale, noise)
            corner = corners(seen)
            stroke = interpolate(unit + (corner - unit).detach(), layout.sizes[-1], mode="bilinear")
            left, painted = left - stroke.detach(), painted + stroke
            target.append(bits.flatten(2))
            shown.append(seen.flatten(2))
            losses.append(losses_of(unit, corners(bits), self.config.sharpness))
        means = {name: torch.stack([loss[name] for loss in losses]).mean() for name in losses[0]}
        target, shown = (rearrange(torch.cat(bits, dim=2), "b c n -> b n c") for bits in (target, shown))
        return Quantized(target, shown, painted, means)

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """The sum over all grids of corners of bits, or of mean corners under probabilities of 1."""
        return self._painted(tokens, layout, len(layout.sizes))

    def canvas(self, shown: Tensor, layout: Layout, scale: int) -> Float[Tensor, "b c s t"]:
        """What the grids before `scale` have painted, shrunk bilinearly: this is what Infinity's transformer sees.

        (The authors' tokenizer takes means over areas there; it makes these for nobody.)
        """
        return self.shrink(self._painted(shown, layout, scale), layout, scale)

    def shrink(self, painted: Float[Tensor, "b c h w"], layout: Layout, scale: int) -> Float[Tensor, "b c s t"]:
        """Bilinearly, to the size of grid `scale`."""
        return interpolate(painted, layout.sizes[scale], mode="bilinear")

    def stroke(self, tokens: Tensor, layout: Layout, scale: int) -> Float[Tensor, "b c h w"]:
        """The corners of one grid's bits, enlarged bilinearly."""
        corner = corners(rearrange(tokens, "b (s t) c -> b c s t", s=layout.sizes[scale][0]))
        return interpolate(corner, layout.sizes[-1], mode="bilinear")

    def _painted(self, tokens: Tensor, layout: Layout, scales: int) -> Float[Tensor, "b c h w"]:
        """The sum of the first `scales` grids."""
        painted = torch.zeros(len(tokens), self.channels, *layout.sizes[-1], device=tokens.device)
        for scale in range(scales):
            painted = painted + self.stroke(tokens[:, layout.part(scale)], layout, scale)
        return painted

    def _flipped(self, bits: Tensor, scale: int, noise: Noise | None) -> Tensor:
        """The bits as later grids see them: one number a picture says how many flip, one a bit whether it does."""
        if noise is None or not self.config.flip or scale >= self.config.flipped_scales:
            return bits
        rows, values = torch.arange(len(bits)), round(self.config.flip * PERCENT) + 1
        often = (noise.uniform((1, 1, 1), rows) * values).floor() / PERCENT
        flips = noise.uniform(tuple(bits.shape[1:]), rows) < often
        return torch.where(flips.to(bits.device), 1 - bits, bits)
