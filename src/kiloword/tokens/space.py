"""Token spaces: the values that one token may take, shared by a tokenizer and a head.

Categorical ids as in van den Oord et al. 2017 (VQ-VAE), tuples of small codes as in Mentzer et al. 2023 (FSQ),
bits as in Zhao et al. 2024 (BSQ), continuous vectors as in Li et al. 2024 (MAR).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Axes: b pictures, n tokens of each. Tokens are [b, n] for ids and [b, n, *tail] for all other spaces; `bits` is the
# information of one token.


@dataclass(frozen=True)
class Categorical:
    """One id in [0, size) a token."""

    size: int

    def __post_init__(self):
        _require_positive("Categorical size", self.size)

    @property
    def tail(self) -> tuple[int, ...]:
        return ()

    @property
    def bits(self) -> float:
        return math.log2(self.size)

    def check(self, tokens: Tensor) -> None:
        """Raise ValueError unless `tokens` [b, n] are ids of this space."""
        _require_shape(self, tokens, ())
        _require_range(self, tokens)


@dataclass(frozen=True)
class Codes:
    """A tuple of ids a token; its factor f is in [0, sizes[f])."""

    sizes: tuple[int, ...]

    def __post_init__(self):
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if not self.sizes:
            raise ValueError("Codes needs at least one size, got ()")
        for size in self.sizes:
            _require_positive("Codes sizes", size)

    @property
    def tail(self) -> tuple[int, ...]:
        return (len(self.sizes),)

    @property
    def bits(self) -> float:
        return sum(math.log2(size) for size in self.sizes)

    def check(self, tokens: Tensor) -> None:
        """Raise ValueError unless `tokens` [b, n, factors] are codes of this space."""
        _require_shape(self, tokens, self.tail)
        _require_range(self, tokens)


@dataclass(frozen=True)
class Bits:
    """`dim` bits a token, each 0 or 1."""

    dim: int

    def __post_init__(self):
        _require_positive("Bits dim", self.dim)

    @property
    def tail(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def bits(self) -> float:
        return float(self.dim)

    def check(self, tokens: Tensor) -> None:
        """Raise ValueError unless `tokens` [b, n, dim] are zeros and ones."""
        _require_shape(self, tokens, self.tail)
        _require_range(self, tokens)


@dataclass(frozen=True)
class Vector:
    """A continuous vector of `dim` numbers a token; it has no finite number of bits."""

    dim: int

    def __post_init__(self):
        _require_positive("Vector dim", self.dim)

    @property
    def tail(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def bits(self) -> float:
        return math.inf

    def check(self, tokens: Tensor) -> None:
        """Raise ValueError unless `tokens` [b, n, dim] are finite numbers."""
        _require_shape(self, tokens, self.tail)
        if not torch.isfinite(tokens).all():
            raise ValueError(f"{self} tokens must be finite, got NaN or infinity")


TokenSpace = Categorical | Codes | Bits | Vector


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def _require_shape(space: TokenSpace, tokens: Tensor, tail: tuple[int, ...]) -> None:
    if tokens.ndim != 2 + len(tail) or tuple(tokens.shape[2:]) != tail:
        expected = ", ".join(["b", "n", *map(str, tail)])
        raise ValueError(f"tokens of {space} have shape [{expected}], got {list(tokens.shape)}")


def values_of(space: TokenSpace) -> Tensor:
    """How many values a token, or each of its factors, can take. Raises ValueError for continuous tokens."""
    match space:
        case Categorical(size):
            return torch.tensor(size, device="cpu")
        case Codes(sizes):
            return torch.tensor(sizes, device="cpu")
        case Bits(dim):
            return torch.full((dim,), 2, device="cpu")
    raise ValueError(f"{space} tokens are continuous: they have no finite number of values")


def _require_range(space: TokenSpace, tokens: Tensor) -> None:
    if tokens.is_floating_point():
        raise ValueError(f"tokens of {space} are integers, got {tokens.dtype}")
    wrong = (tokens < 0) | (tokens >= values_of(space).to(tokens.device))
    if wrong.any():
        raise ValueError(f"token {int(tokens[wrong][0])} is outside {space}")
