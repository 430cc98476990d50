"""The law of prompts: from what the user says to what the transformer is given.

The null condition is for classifier-free guidance (Ho and Salimans 2022).
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Axes: b pictures, m rows of the condition, w width.


@dataclass(frozen=True)
class Condition:
    """Rows that stand before the picture (present ones first), and vectors that are not rows.

    The rows see each other, unless they are `causal`; where they are not `placed` they sit nowhere. `start` is added
    to the picture's rows that are fed nothing; `vector` modulates the blocks.
    """

    prefix: Float[Tensor, "b m w"]
    present: Bool[Tensor, "b m"]
    vector: Float[Tensor, "b w"] | None = None
    start: Float[Tensor, "b w"] | None = None
    causal: bool = False
    placed: bool = True


@runtime_checkable
class Prompt(Protocol):
    """Reads a batch of prompts; None stands for no prompt at all."""

    @property
    def width(self) -> int: ...

    def read(self, prompts: list) -> Condition: ...

    def null(self, condition: Condition) -> Condition: ...


@runtime_checkable
class Predicted(Protocol):
    """Prompts that the model learns to say itself: which token each row of their condition is to predict."""

    def target(self, prompts: list) -> Int[Tensor, "b m"]: ...


def class_ids(prompts: list, classes: int) -> Int[Tensor, "b"]:
    """The numbers of classes; None becomes `classes`, the one behind the last. Raises ValueError for anything else."""
    for prompt in prompts:
        if prompt is not None and not (isinstance(prompt, int) and 0 <= prompt < classes):
            raise ValueError(f"class {prompt!r} is not a whole number from 0 to {classes - 1}")
    return torch.tensor([classes if prompt is None else prompt for prompt in prompts], dtype=torch.long)
