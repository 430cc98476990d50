"""Patterns: which rows of its own picture a row attends to in a layer, as predicates on where both sit.

Child et al. 2019 (Sparse Transformers), Ho et al. 2019 (Axial Transformers), Ramesh et al. 2021 (DALL-E, figure 11).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Axes: b rows of the batch, q places asking, c places attended to; places are (time, scale, y, x).


@runtime_checkable
class PatternConfig(Protocol):
    """A pattern is its own settings: there is nothing to be learned in it."""

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        """Whether a place so far below and to the right of a row is for it to see."""
        ...


@dataclass(frozen=True)
class FullPattern:
    """All that the stream allows."""

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        return torch.ones_like(down, dtype=torch.bool)


@dataclass(frozen=True)
class RowPattern:
    """The same row of the picture."""

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        return down == 0


@dataclass(frozen=True)
class WrappedRowPattern:
    """As many places as a row has, and one: up to the place straight above. DALL-E's own rows (figure 11a)."""

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        return (down == 0) | ((down == -1) & (right >= 0))


@dataclass(frozen=True)
class ColumnPattern:
    """The same column of the picture."""

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        return right == 0


@dataclass(frozen=True)
class ConvolutionPattern:
    """Places at most `radius` rows and columns away: 5 is a kernel of 11x11."""

    radius: int

    def __post_init__(self):
        if self.radius < 0:
            raise ValueError(f"a convolution reaches 0 or more places, got {self.radius}")

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        return (down.abs() <= self.radius) & (right.abs() <= self.radius)


def allowed(
    pattern: PatternConfig, asking: Float[Tensor, "b q 4"], seen: Float[Tensor, "b c 4"]
) -> Bool[Tensor, "b q c"]:
    """Whether a pattern lets each place asking see each place `seen`.

    It chooses within one grid, whose places share time and scale; words have a time each, so all of them stay visible,
    and so do rows that sit nowhere.
    """
    later, finer, down, right = (seen[:, None, :, axis] - asking[:, :, None, axis] for axis in range(4))
    return (later != 0) | (finer != 0) | down.isnan() | pattern.near(down, right)


def masks_by_layer(
    patterns: Sequence[PatternConfig], depth: int, mask: Bool[Tensor, "b q c"] | None,
    asking: Float[Tensor, "b q 4"], seen: Float[Tensor, "b c 4"],
) -> list[Bool[Tensor, "b q c"]]:  # fmt: skip
    """The stream's mask (None: all see all) narrowed by the pattern of each layer; patterns are cycled."""
    narrowed = {pattern: allowed(pattern, asking, seen) for pattern in patterns}
    joined = {pattern: near if mask is None else near & mask for pattern, near in narrowed.items()}
    return [joined[patterns[layer % len(patterns)]] for layer in range(depth)]


def dalle(depth: int, radius: int = 5) -> tuple[WrappedRowPattern | ColumnPattern | ConvolutionPattern, ...]:
    """DALL-E's layers, counted from 1: columns where (layer - 2) mod 4 is 0, rows elsewhere, a convolution at last."""
    axes = [ColumnPattern() if (layer - 2) % 4 == 0 else WrappedRowPattern() for layer in range(1, depth)]
    return (*axes, ConvolutionPattern(radius))
