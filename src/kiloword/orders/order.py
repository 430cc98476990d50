"""The law of orders: when each token of a picture is generated, and what its position is fed.

Every known way of generating is a table of levels (the unknown share of each token, see `tokens/schedule.py`) and a
rule for the input. A schedule is sampled once for each picture, and everything else follows from it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kiloword.noise import Noise
from kiloword.tokens import Fed, Layout, Schedule

# Axes: b pictures, n tokens of the picture, q tokens of them, c numbers of a token.


@runtime_checkable
class OrderConfig(Protocol):
    """The settings of an order."""

    def build(self) -> "Order": ...


NOWHERE = -1  # the token index of a position that sits at no token


class Order(ABC):
    """What is required of an order. Methods with a body are defaults.

    `causal`: a position does not attend to those of later steps of its own picture.
    `feeds_canvas`: the input is not tokens but the canvas: `canvas(shown, scale)` gives the latents decoded from the
    grids before `scale`, [b, c, h, w], at the size of that grid.
    `gradual`: tokens are denoised over several steps, and are part noise until then.

        schedule = order.schedule(layout, batch=2, steps=None, noise=Seeded([0, 1]))
    """

    causal: bool = False
    feeds_canvas: bool = False
    gradual: bool = False

    @abstractmethod
    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule:
        """When each token of `batch` pictures is generated; `steps` None: the order's default.

        Raises ValueError for layouts and numbers of steps that the order does not support.
        """

    def training_schedule(self, layout: Layout, batch: int, noise: Noise | None, done: float = 1.0) -> Schedule:
        """The schedule of pictures in training; `done` is the share of the training that has passed, from 0 to 1."""
        return self.schedule(layout, batch, None, noise)

    def training_levels(self, schedule: Schedule, noise: Noise | None) -> Float[Tensor, "b n"]:
        """The level at which each token is trained, from 1 (unknown) to 0 (known, and no loss). By default all are
        unknown, each of them at its own step."""
        return torch.ones_like(schedule.start)

    @abstractmethod
    def feed(
        self, shown: Tensor, schedule: Schedule, level: Float[Tensor, "b n"], index: Int[Tensor, "b q"], layout: Layout,
        canvas: Callable | None = None,
    ) -> Fed:  # fmt: skip
        """The input of the positions that predict the tokens of `index`, given the tokens `shown` [b, n, ...]."""

    def row_positions(self, schedule: Schedule, layout: Layout) -> Int[Tensor, "b n"]:
        """For the position that predicts each token: the token whose coordinates it has; `NOWHERE` for none."""
        return torch.arange(layout.count, device=schedule.start.device).expand_as(schedule.start)

    def attention_rank(
        self, schedule: Schedule, layout: Layout, given: Bool[Tensor, "b n"], known: Bool[Tensor, "b n"],
        at_work: Bool[Tensor, "b n"],
    ) -> Int[Tensor, "b n"]:  # fmt: skip
        """The rank of each token in attention: it attends to tokens of its own rank and of lower ones. `given` tokens
        were known from the start, `known` ones have been generated, `at_work` are those that change in this step."""
        return schedule.start.long()

    def times(self, layout: Layout) -> Int[Tensor, "n"] | None:
        """The time coordinate of each token from the picture's start, in orders whose tokens advance time like text;
        None where all tokens of a picture share one time."""
        return None

    def noised(
        self, tokens: Float[Tensor, "b n c"], level: Float[Tensor, "b n"], noise: Noise | None, loudness: float = 1.0
    ) -> Float[Tensor, "b n c"]:
        """Tokens mixed with noise: (1 - level) token + level * loudness * normal noise. `noise` None: torch's own
        generator. Raises ValueError for orders that are not gradual."""
        raise ValueError("this order makes each token known at once: there is no noise in its tokens")

    def in_groups(self, groups: int, overlap: float) -> "Order":
        """The same order in `groups` groups that overlap by `overlap` (see `tokens/ramps.py`). Raises ValueError for
        orders without groups, and for an overlap outside [0, 1]."""
        raise ValueError(f"{groups} groups: this order makes each token known at once, so it draws in no groups")


class Ranked(Order):
    """Orders whose layout says the step of each token: those of rank r are generated in step r."""

    causal = True

    @abstractmethod
    def rank(self, layout: Layout) -> Int[Tensor, "n"]:
        """The step of each token."""

    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule:
        """One rank a step; `steps` can only be the number of ranks, or None."""
        start = self.rank(layout).float().expand(batch, -1)
        return Schedule(start, start + 1)


class OneByOne(Order):
    """Orders of one token a step: ordinary autoregression, each position is fed the token before."""

    causal = True

    def feed(
        self, shown: Tensor, schedule: Schedule, level: Float[Tensor, "b n"], index: Int[Tensor, "b q"], layout: Layout,
        canvas: Callable | None = None,
    ) -> Fed:  # fmt: skip
        """The token generated just before; nothing for the first one."""
        ranks, before = before_each(schedule, index)
        pictures = torch.arange(len(index), device=index.device)[:, None]
        return Fed(shown[pictures, before], ranks > 0, level[pictures, index], index)


def before_each(schedule: Schedule, index: Int[Tensor, "b q"]) -> tuple[Int[Tensor, "b q"], Int[Tensor, "b q"]]:
    """In schedules of one token a step: the steps of the tokens of `index`, and the token one step before each (the
    first one's is itself)."""
    ranks = schedule.start.gather(1, index).long()
    return ranks, schedule.order.gather(1, (ranks - 1).clamp(min=0))


def position_of_fed(schedule: Schedule) -> Int[Tensor, "b n"]:
    """For the position that predicts each token: the token that it is fed; `NOWHERE` for the first one."""
    everything = torch.arange(schedule.start.shape[1], device=schedule.start.device).expand_as(schedule.start)
    ranks, before = before_each(schedule, everything)
    return torch.where(ranks > 0, before, NOWHERE)


def rank_at(
    order: Order, schedule: Schedule, step: int, layout: Layout, given: Bool[Tensor, "b n"]
) -> Int[Tensor, "b n"]:
    """The rank of each token in attention at a step of generation (see `Order.attention_rank`)."""
    known, at_work = schedule.known(step) & ~given, schedule.visited(step) & ~given
    return order.attention_rank(schedule, layout, given, known, at_work)


def grouped_as(order: Order, groups: tuple[int, float] | None) -> Order:
    """An order in these `groups` (a number and an overlap; None: as it is). Raises ValueError for orders without
    groups."""
    return order if groups is None else order.in_groups(*groups)


def itself(shown: Tensor) -> Fed:
    """The input of a picture that is only read: every position is fed its own token."""
    b, n = shown.shape[:2]
    index = torch.arange(n, device=shown.device).expand(b, -1)
    return Fed(shown, torch.ones_like(index, dtype=torch.bool), torch.zeros(b, n, device=shown.device), index)


def fed_itself(shown: Tensor, level: Float[Tensor, "b n"], index: Int[Tensor, "b q"]) -> Fed:
    """Every position is fed its own token as it is (in part noise, if gradual); `real` are those that are fully
    known."""
    pictures = torch.arange(len(index), device=index.device)[:, None]
    here = level[pictures, index]
    return Fed(shown[pictures, index], here == 0, here, index)
