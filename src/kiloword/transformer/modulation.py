"""Modulation: shift, scale and gate a half block by a vector of the condition (Peebles and Xie 2022, adaLN-Zero)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

# Axes: b rows of the batch, t places in a row (1: the same for all places), w width.


@dataclass(frozen=True)
class UnmodulatedConfig:
    """A block that no condition modulates."""

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
        if vector is None:
            raise ValueError("this transformer is modulated by the condition's vector, and the condition has none")
        return Modulated(self.linear(nn.functional.silu(vector)).chunk(6, dim=-1))


class Modulated:
    """Shift, scale and gate of the attention half (0) and the feed-forward half (1)."""

    def __init__(self, vectors: tuple[Tensor, ...]):
        self.halves = (vectors[:3], vectors[3:])

    def enter(self, half: int, x: Tensor) -> Tensor:
        shift, scale, _ = self.halves[half]
        return x * (1 + scale) + shift

    def leave(self, half: int, x: Tensor) -> Tensor:
        return self.halves[half][2] * x
