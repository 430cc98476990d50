"""Ramps: groups that become known one after the other, each along a ramp that may overlap the next one's.

Ordinary diffusion (one group), groupwise diffusion (Lee et al. 2023, overlap 1: each group when the one before is
done), rolling diffusion (Ruhe et al. 2024, overlap 1/W: W groups at a time, with its initial phase) and, with as many
groups as units, autoregression are points of this one family: `level_r(t) = 1 - clip(T (1 - t) - overlap r, 0, 1)` with
`T = 1 + overlap (groups - 1)`, the time t falling from 1 to 0 over `T steps` steps.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.tokens.schedule import Schedule

# Axes: b pictures, n units (tokens, patches, or bands of patches), r groups.


@dataclass(frozen=True)
class Ramps:
    """Draw in `groups` groups of `steps` steps each (None: the order's default), `overlap` from 0 (all at once) to 1
    (one after the other)."""

    groups: int
    overlap: float = 1.0
    steps: int | None = None


def ramps(rank: Int[Tensor, "b n"], overlap: float, steps: int) -> Schedule:
    """The schedule in which every unit takes `steps` steps and those of rank r begin at step `overlap` * r * `steps`.

    Raises ValueError for an overlap outside [0, 1], and for less than 1 step.
    """
    if not 0 <= overlap <= 1:
        raise ValueError(f"the overlap is from 0 (all groups at once) to 1 (one after the other), got {overlap}")
    if steps < 1:
        raise ValueError(f"a group takes at least 1 step, got {steps}")
    start = (rank.double() * (overlap * steps)).round(decimals=9)  # 1/3 of 3 steps is 1 step, and no more
    return Schedule(start, start + steps)


def levels_at(
    progress: Float[Tensor, "b"], rank: Int[Tensor, "b n"], overlap: Float[Tensor, "b"]
) -> Float[Tensor, "b n"]:
    """The level of every unit of each picture at any `progress` from 0 to T, for training.

    Progress is counted in ramps: T (1 - t), or the step over `steps`.
    """
    return 1 - (progress[:, None] - overlap[:, None] * rank).clamp(0, 1)


def grouped(index: Int[Tensor, "*n"], groups: int) -> Int[Tensor, "*n"]:
    """The group of each unit, given its `index` 0, 1, .. in an order: consecutive groups of equal size.

    Raises ValueError if the groups do not divide the number of units.
    """
    count = int(index.max()) + 1
    if groups < 1 or count % groups:
        legal = [g for g in range(1, count + 1) if count % g == 0]
        raise ValueError(f"{groups} groups do not divide {count} units evenly: choose {_listed(legal)}")
    return torch.div(index * groups, count, rounding_mode="floor")


def _listed(numbers: list[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
