"""The law of proofs: a recording of what a system's authors' code computed, and the calls that compute it here.

Source: defined here; every proof cites the paper and the repository that were recorded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# The recorded tensor's name -> the call that computes it with kiloword's parts.
Stages = Mapping[str, Callable[[], Tensor]]


@dataclass(frozen=True)
class Record:
    """A recording of the authors' code: its config.json, the tensors, kiloword's system with the authors' weights, and
    these weights under the authors' names, some of which may belong to their metrics only."""

    settings: dict[str, Any]
    tensors: dict[str, Tensor]
    system: Any
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        return self.settings["config"]


@dataclass(frozen=True)
class Proof:
    """What is compared of a page. `stages` makes every recorded tensor again; `weights` completes the authors' weights
    in a recording from its other tensors."""

    stages: Callable[[Record], Stages]
    weights: Callable[[dict[str, Tensor], dict[str, Tensor]], dict[str, Tensor]] = lambda weights, tensors: weights
