"""Modulation: shift, scale and gate a half block by a vector of the condition (Peebles and Xie 2022, adaLN-Zero).

One matrix for all blocks and a learned offset in each is PixArt's (Chen et al. 2023, adaLN-single).
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Axes: b rows of the batch, t places in a row (1: the same for all places), w width,
# w6 six widths.


@runtime_checkable
class Modulable(Protocol):
    """Transformers that a vector modulates, if `modulated` says so."""

    @property
    def modulated(self) -> bool: ...


@dataclass(frozen=True)
class UnmodulatedConfig:
    """A block, or an output, that no condition modulates."""

    def shared(self, width: int) -> nn.Module:
        """What is made of the condition's vector once for all blocks."""
        return nn.Identity()

    def build(self, width: int) -> nn.Module:
        return Unmodulated()


class Unmodulated(nn.Module):
    """Lets everything pass."""

    def forward(self, vector: Tensor | None) -> "Unmodulated":
        return self

    def enter(self, half: int, x: Tensor) -> Tensor:
        return x

    def leave(self, half: int, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class AdaLNConfig:
    """A matrix of the block's own from the condition's vector to shift, scale and gate; it starts at zero."""

    def shared(self, width: int) -> nn.Module:
        return nn.Identity()

    def build(self, width: int) -> nn.Module:
        return AdaLN(width)


class AdaLN(nn.Module):
    """The six vectors of a block, from silu(condition)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vector: Float[Tensor, "b #t w"] | None) -> "Modulated":
        return Modulated(self.linear(nn.functional.silu(needed(vector))).chunk(6, dim=-1))


@dataclass(frozen=True)
class SharedAdaLNConfig:
    """One matrix for all blocks; each block adds six vectors of its own to what comes out of it."""

    def shared(self, width: int) -> nn.Module:
        return SharedAdaLN(width)

    def build(self, width: int) -> nn.Module:
        return AdaLNOffset(width)


class SharedAdaLN(nn.Module):
    """The six vectors of all blocks side by side, from silu(condition)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vector: Float[Tensor, "b #t w"] | None) -> Float[Tensor, "b #t w6"]:
        return self.linear(nn.functional.silu(needed(vector)))


class AdaLNOffset(nn.Module):
    """What one block adds to the shared vectors."""

    def __init__(self, width: int):
        super().__init__()
        self.offset = nn.Parameter(torch.randn(6, width) / width**0.5)

    def forward(self, vectors: Float[Tensor, "b #t w6"]) -> "Modulated":
        return Modulated((vectors + self.offset.flatten()).chunk(6, dim=-1))


@dataclass(frozen=True)
class AdaLNOutputConfig:
    """The last norm of a stack is shifted and scaled too; its matrix starts at zero."""

    def build(self, width: int) -> nn.Module:
        return AdaLNOutput(width)


class AdaLNOutput(nn.Module):
    """Shift and scale, from silu(condition)."""

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
    """Shift, scale and gate of the attention half (0) and the feed-forward half (1); an output has one half only."""

    def __init__(self, vectors: tuple[Tensor, ...]):
        self.halves = (vectors[:3], vectors[3:])

    def enter(self, half: int, x: Tensor) -> Tensor:
        shift, scale, _ = self.halves[half]
        return x * (1 + scale) + shift

    def leave(self, half: int, x: Tensor) -> Tensor:
        return self.halves[half][2] * x
