"""The interface of training tasks: what is trained, on which examples, and how a batch becomes a loss."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class TrainingTask(Protocol):
    """Everything random in a task comes from torch's generator, which the loop seeds anew before every iteration."""

    @property
    def module(self) -> nn.Module: ...

    def choose(self, iteration: int, count: int) -> Tensor:
        """Indices of the `count` examples of an iteration: a function of its number alone."""
        ...

    def loss(self, indices: Tensor, done: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss over the examples at these indices, and figures to be logged.

        `done` is the share of the training that has passed, from 0 to 1.
        """
        ...

    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        """Evaluate the module (the loop loads the averaged weights first): figures, and pictures into `folder`."""
        ...
