"""Guidance over the steps of a drawing: how far each step goes beyond the prompt's own prediction.

Ho and Salimans 2022; the courses are those of Tian et al. 2024 (VAR) and Li et al. 2024 (MAR), the limits those of
Sun et al. 2024 (LlamaGen).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kiloword.tokens import Schedule

# Axes: s steps, v = 2 views, b pictures.


def constant(guidance: float, schedule: Schedule) -> list[float]:
    """The same guidance at every step."""
    return [guidance] * schedule.steps


def ramp(guidance: float, schedule: Schedule) -> list[float]:
    """Linear from 1, which is off, to `guidance` (VAR)."""
    last = max(1, schedule.steps - 1)
    return [1 + (guidance - 1) * step / last for step in range(schedule.steps)]


def known(guidance: float, schedule: Schedule) -> list[float]:
    """In proportion to the share of tokens that are known after a step, the last one never counted (MAR)."""
    last = 1 / schedule.start.shape[1]
    shares = [1 - max(last, float(schedule.level(step + 1)[0].mean())) for step in range(schedule.steps)]
    return [1 + (guidance - 1) * share for share in shares]


COURSES: dict[str, Callable[[float, Schedule], list[float]]] = {"constant": constant, "ramp": ramp, "known": known}


@dataclass(frozen=True)
class GuidanceConfig:
    """The course that guidance takes, and the steps, `first` to `last`, outside of which it is off (None: no end)."""

    course: str = "constant"
    first: int = 0
    last: int | None = None

    def __post_init__(self):
        if self.course not in COURSES:
            raise ValueError(f"guidance takes a course of {', '.join(COURSES)}, got {self.course!r}")

    def weights(self, guidance: float, schedule: Schedule) -> Float[Tensor, "s v b"]:
        """The weights of the conditional and of the unconditional prediction at every step: g and 1 - g."""
        last = schedule.steps if self.last is None else self.last
        course = COURSES[self.course](guidance, schedule)
        at = [g if self.first <= step <= last else 1.0 for step, g in enumerate(course)]
        return torch.tensor([[g, 1 - g] for g in at])[..., None].expand(-1, -1, len(schedule.start))
