"""The law of prompts: from what the user says to what the transformer is given.

The null condition is for classifier-free guidance (Ho and Salimans 2022).
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

# Axes: b pictures, m rows of the condition, w width.


@dataclass(frozen=True)
class Condition:
    """Rows that stand before the picture (present ones first), and a vector that modulates the blocks."""

    prefix: Float[Tensor, "b m w"]
    present: Bool[Tensor, "b m"]
    vector: Float[Tensor, "b w"] | None = None


@runtime_checkable
class Prompt(Protocol):
    """Reads a batch of prompts; None stands for no prompt at all."""

    @property
    def width(self) -> int: ...

    def read(self, prompts: list) -> Condition: ...

    def null(self, condition: Condition) -> Condition: ...
