"""The law of training tasks: what is trained, on which rows of the data, and how a batch becomes a loss."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class TrainingTask(Protocol):
    """Everything random in a task comes from torch's generator, which the loop seeds anew before every iteration."""

    @property
    def module(self) -> nn.Module: ...

    def choose(self, iteration: int, count: int) -> Tensor:
        """The `count` rows of data of an iteration: a function of its number alone."""
        ...

    def loss(self, rows: Tensor, done: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss over some rows, and figures to be logged.

        `done` is the share of the training that has passed, from 0 to 1.
        """
        ...

    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        """Judge the module as it is (the loop hands it the averaged weights): figures, and pictures into `folder`."""
        ...
