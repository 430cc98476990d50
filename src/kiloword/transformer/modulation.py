"""Modulation: adaptive layer norm by a vector of the condition (Peebles and Xie 2022, adaLN-Zero).

One matrix for all blocks and a learned offset in each is PixArt's (Chen et al. 2023, adaLN-single).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Axes: b batch, t positions (1: the same for all), w width, w6 six widths.


@dataclass(frozen=True)
class UnmodulatedConfig:
    """Ordinary norms: no condition modulates the blocks, or the output."""

    def shared(self, width: int) -> nn.Module:
        """The projection of the condition's vector that all blocks share."""
        return nn.Identity()

    def build(self, width: int) -> nn.Module:
        return Unmodulated()


class Unmodulated(nn.Module):
    """The identity."""

    def forward(self, vector: Tensor | None) -> "Unmodulated":
        return self

    def enter(self, half: int, x: Tensor) -> Tensor:
        return x

    def leave(self, half: int, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class AdaLNConfig:
    """adaLN-Zero: each block projects the condition's vector to shifts, scales and gates; initialised to zero."""

    def shared(self, width: int) -> nn.Module:
        return nn.Identity()

    def build(self, width: int) -> nn.Module:
        return AdaLN(width)


class AdaLN(nn.Module):
    """A block's shift, scale and gate of both halves, from silu(condition)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vector: Float[Tensor, "b #t w"] | None) -> "Modulated":
        return Modulated(self.linear(nn.functional.silu(needed(vector))).chunk(6, dim=-1))


@dataclass(frozen=True)
class SharedAdaLNConfig:
    """adaLN-single: one projection for all blocks, to which each block adds six learned vectors."""

    def shared(self, width: int) -> nn.Module:
        return SharedAdaLN(width)

    def build(self, width: int) -> nn.Module:
        return AdaLNOffset(width)


class SharedAdaLN(nn.Module):
    """The six vectors that all blocks share, concatenated, from silu(condition)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vector: Float[Tensor, "b #t w"] | None) -> Float[Tensor, "b #t w6"]:
        return self.linear(nn.functional.silu(needed(vector)))


class AdaLNOffset(nn.Module):
    """The learned vectors that one block adds to the shared ones."""

    def __init__(self, width: int):
        super().__init__()
        self.offset = nn.Parameter(torch.randn(6, width) / width**0.5)

    def forward(self, vectors: Float[Tensor, "b #t w6"]) -> "Modulated":
        return Modulated((vectors + self.offset.flatten()).chunk(6, dim=-1))


@dataclass(frozen=True)
class AdaLNOutputConfig:
    """Adaptive layer norm behind the last block; initialised to zero."""

    def build(self, width: int) -> nn.Module:
        return AdaLNOutput(width)


class AdaLNOutput(nn.Module):
    """Shift and scale of the last norm, from silu(condition)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vector: Float[Tensor, "b #t w"] | None) -> "Modulated":
        shift, scale = self.linear(nn.functional.silu(needed(vector))).chunk(2, dim=-1)
        return Modulated((shift, scale, torch.ones_like(scale)))


def needed(vector: Tensor | None) -> Tensor:
    """The condition's vector. Raises ValueError if it has none."""
    if vector is None:
        raise ValueError("this transformer is modulated by the condition's vector, and the condition has none")
    return vector


class Modulated:
    """Shift, scale and gate of a block's attention half (0) and feed-forward half (1); an output has one half.

    `enter` shifts and scales what goes into a half, behind its norm; `leave` gates what comes out of it.
    """

    def __init__(self, vectors: tuple[Tensor, ...]):
        self.halves = (vectors[:3], vectors[3:])

    def enter(self, half: int, x: Tensor) -> Tensor:
        shift, scale, _ = self.halves[half]
        return x * (1 + scale) + shift

    def leave(self, half: int, x: Tensor) -> Tensor:
        return self.halves[half][2] * x
