"""Sparse attention patterns: which tokens of the same picture a token attends to in a layer, by grid position.

Child et al. 2019 (Sparse Transformers), Ho et al. 2019 (Axial Transformers), Ramesh et al. 2021 (DALL-E, figure 11).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Axes: b batch, q queries, c keys; positions are (time, scale, y, x).


@runtime_checkable
class PatternConfig(Protocol):
    """What is required of a pattern. It has no weights, so the config is the pattern itself."""

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        """Whether a query attends to a key so many grid rows below and columns to the right of it (negative: above,
        left)."""
        ...


@dataclass(frozen=True)
class FullPattern:
    """All that the attention mask allows."""

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        return torch.ones_like(down, dtype=torch.bool)


@dataclass(frozen=True)
class RowPattern:
    """The same row of the picture."""

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        return down == 0


@dataclass(frozen=True)
class WrappedRowPattern:
    """The same row, and the row above from the token straight above on: DALL-E's row attention (figure 11a)."""

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        return (down == 0) | ((down == -1) & (right >= 0))


@dataclass(frozen=True)
class ColumnPattern:
    """The same column of the picture."""

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        return right == 0


@dataclass(frozen=True)
class ConvolutionPattern:
    """Tokens at most `radius` rows and columns away: 5 is an 11x11 kernel."""

    radius: int

    def __post_init__(self):
        if self.radius < 0:
            raise ValueError(f"a convolution's radius is at least 0, got {self.radius}")

    def near(self, down: Float[Tensor, "b q c"], right: Float[Tensor, "b q c"]) -> Bool[Tensor, "b q c"]:
        return (down.abs() <= self.radius) & (right.abs() <= self.radius)


def allowed(
    pattern: PatternConfig, queries: Float[Tensor, "b q 4"], keys: Float[Tensor, "b c 4"]
) -> Bool[Tensor, "b q c"]:
    """A pattern's mask between the positions of queries and keys.

    It restricts attention within one grid, whose tokens share time and scale; each text token has another time, so all
    text stays visible, as do positions whose y and x are NaN.
    """
    later, finer, down, right = (keys[:, None, :, axis] - queries[:, :, None, axis] for axis in range(4))
    return (later != 0) | (finer != 0) | down.isnan() | pattern.near(down, right)


def masks_by_layer(
    patterns: Sequence[PatternConfig], depth: int, mask: Bool[Tensor, "b q c"] | None,
    queries: Float[Tensor, "b q 4"], keys: Float[Tensor, "b c 4"],
) -> list[Bool[Tensor, "b q c"]]:  # fmt: skip
    """The mask of each layer: the stream's (None: full attention) and the pattern's; patterns are cycled."""
    near = {pattern: allowed(pattern, queries, keys) for pattern in patterns}
    masks = {pattern: each if mask is None else each & mask for pattern, each in near.items()}
    return [masks[patterns[layer % len(patterns)]] for layer in range(depth)]


def dalle(depth: int, radius: int = 5) -> tuple[WrappedRowPattern | ColumnPattern | ConvolutionPattern, ...]:
    """DALL-E's layers, counted from 1: columns where (layer - 2) mod 4 is 0, rows elsewhere, a convolution at last."""
    axes = [ColumnPattern() if (layer - 2) % 4 == 0 else WrappedRowPattern() for layer in range(1, depth)]
    return (*axes, ConvolutionPattern(radius))
