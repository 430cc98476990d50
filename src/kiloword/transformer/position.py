"""Rotary position embeddings (RoPE) over four axes: time, scale, row and column.

Su et al. 2021 (RoFormer) for one axis; the head's channels are divided among the axes as in the multimodal rotary
position embeddings of Wang et al. 2024 (Qwen2-VL).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Axes: b batch, t positions, h heads, d channels of a head.


@dataclass(frozen=True)
class RotaryConfig:
    """How many channels of a head rotate with each of (time, scale, y, x), and the base of the wavelengths of each
    axis."""

    channels: tuple[int, int, int, int]
    bases: tuple[float, float, float, float] = (10000.0, 100.0, 100.0, 100.0)

    def __post_init__(self):
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "bases", tuple(self.bases))
        if any(c < 0 or c % 2 for c in self.channels):
            raise ValueError(f"each axis rotates an even number of channels, got {self.channels}")

    def build(self, head_dim: int) -> "Rotary":
        if sum(self.channels) != head_dim:
            raise ValueError(f"rotary channels {self.channels} sum to {sum(self.channels)}, the head has {head_dim}")
        return Rotary(self)


@dataclass(frozen=True)
class MutedConfig:
    """RoPE that zeroes the queries and keys of positions without y and x: LlamaGen's prompt attends evenly to all
    before it."""

    rotary: RotaryConfig

    def build(self, head_dim: int) -> "Muted":
        return Muted(self.rotary.build(head_dim))


class Muted:
    """The queries and keys of positions whose y is NaN become zero (Sun et al. 2024, LlamaGen's table of angles)."""

    def __init__(self, rotary: "Rotary"):
        self.rotary = rotary

    def angles(self, positions: Float[Tensor, "b t 4"]) -> tuple[Float[Tensor, "b t 1 d"], Float[Tensor, "b t 1 d"]]:
        outside = positions[..., 2].isnan()[..., None, None]
        cos, sin = self.rotary.angles(positions.nan_to_num(0.0))
        return cos.masked_fill(outside, 0.0), sin.masked_fill(outside, 0.0)


@dataclass(frozen=True)
class RoundedConfig:
    """RoPE with y and x rounded to whole rows and columns of the layout's frame, halves to even (Infinity)."""

    rotary: RotaryConfig

    def build(self, head_dim: int) -> "Rounded":
        return Rounded(self.rotary.build(head_dim))


class Rounded:
    """All grids share the positions of the finest one possible (Han et al. 2024, section 3.2)."""

    def __init__(self, rotary: "Rotary"):
        self.rotary = rotary

    def angles(self, positions: Float[Tensor, "b t 4"]) -> tuple[Float[Tensor, "b t 1 d"], Float[Tensor, "b t 1 d"]]:
        return self.rotary.angles(positions.round())


@dataclass(frozen=True)
class StretchedConfig:
    """RoPE for texts longer than the `original` ones: wavelengths longer than original / low are `factor` times
    longer, those shorter than original / high are kept, those between are interpolated (Grattafiori et al. 2024,
    Llama 3.1)."""

    rotary: RotaryConfig
    factor: float = 8.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def __post_init__(self):
        if not (self.factor >= 1 and self.high > self.low > 0):
            raise ValueError(f"the factor is at least 1 and high above low above 0, got {self}")

    def build(self, head_dim: int) -> "Rotary":
        rotary = self.rotary.build(head_dim)
        cycles = self.original * rotary.speeds.abs() / (2 * math.pi)
        kept = ((cycles - self.low) / (self.high - self.low)).clamp(0, 1)
        rotary.speeds = rotary.speeds * (kept + (1 - kept) / self.factor)
        return rotary


class Rotary:
    """Rotates pairs (channel j, channel j + d/2) of queries and keys by angles in proportion to the position."""

    def __init__(self, config: RotaryConfig):
        axes = [axis for axis, channels in enumerate(config.channels) for _ in range(channels // 2)]
        speeds = [
            base ** (-2 * j / channels)
            for channels, base in zip(config.channels, config.bases, strict=True)
            for j in range(channels // 2)
        ]
        self.axes = torch.tensor(axes * 2, device="cpu")
        self.speeds = torch.tensor([-speed for speed in speeds] + speeds, device="cpu")

    def angles(self, positions: Float[Tensor, "b t 4"]) -> tuple[Float[Tensor, "b t 1 d"], Float[Tensor, "b t 1 d"]]:
        """Cosine and sine of every channel's angle, for `rotate`; the sines of a pair have opposite signs."""
        axes, speeds = self.axes.to(positions.device), self.speeds.to(positions.device)
        angles = (positions.index_select(-1, axes) * speeds).unsqueeze(2)
        return angles.cos(), angles.sin()


def rotate(
    x: Float[Tensor, "b t h d"], angles: tuple[Float[Tensor, "b t 1 d"], Float[Tensor, "b t 1 d"]]
) -> Float[Tensor, "b t h d"]:
    """Rotate the channel pairs of queries or keys by `angles` (cosines, sines)."""
    cos, sin = angles[0].to(x.dtype), angles[1].to(x.dtype)
    partner = x.roll(x.shape[-1] // 2, dims=-1)
    return x * cos + partner * sin
