"""The law of orders: the schedule of a picture's tokens and what the transformer is shown at each.

Every known way of drawing is a table of unknown shares (see `tokens/schedule.py`) and a rule for the feed. A schedule
is drawn once for each picture, and everything else is worked out from it.
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


NOWHERE = -1  # the position of a token that sits nowhere


class Order(ABC):
    """What an order has to say. Those below with a body are defaults.

    `causal`: a token's position in the stream must not see positions of later steps of its own picture.
    `painted`: tokens are not fed tokens but what has been painted so far: `canvas(shown, scale)` is that of the grids
    before `scale`, [b, c, h, w], at the size of that grid.
    `gradual`: tokens become known little by little, and are part noise until then.
    """

    causal: bool = False
    painted: bool = False
    gradual: bool = False

    @abstractmethod
    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule:
        """When each token of `batch` pictures becomes known; `steps` None is as many as the order has by itself.

        Raises ValueError for layouts and numbers of steps that the order does not go with.
        """

    def training_schedule(self, layout: Layout, batch: int, noise: Noise | None, done: float = 1.0) -> Schedule:
        """The schedule of pictures to be learned; `done` says how much of a training has passed, from 0 to 1."""
        return self.schedule(layout, batch, None, noise)

    def training_levels(self, schedule: Schedule, noise: Noise | None) -> Float[Tensor, "b n"]:
        """The unknown share of each token, as it is learned: 0 is known and not learned. By default all are unknown,
        each of them at its own step."""
        return torch.ones_like(schedule.start)

    @abstractmethod
    def feed(
        self, shown: Tensor, schedule: Schedule, level: Float[Tensor, "b n"], index: Int[Tensor, "b q"], layout: Layout,
        canvas: Callable | None = None,
    ) -> Fed:  # fmt: skip
        """What the positions that predict the tokens of `index` are fed, given the tokens `shown` [b, n, ...]."""

    def row_positions(self, schedule: Schedule, layout: Layout) -> Int[Tensor, "b n"]:
        """The token of the layout in whose place the position that predicts each token sits; `NOWHERE` for none."""
        return torch.arange(layout.count, device=schedule.start.device).expand_as(schedule.start)

    def attention_rank(
        self, schedule: Schedule, layout: Layout, given: Bool[Tensor, "b n"], known: Bool[Tensor, "b n"],
        at_work: Bool[Tensor, "b n"],
    ) -> Int[Tensor, "b n"]:  # fmt: skip
        """Who sees whom: a token those of its own rank and of lower ones. What is `known` has become so here; what is
        `given` was so from the start; `at_work` is what changes in this step."""
        return schedule.start.long()

    def times(self, layout: Layout) -> Int[Tensor, "n"] | None:
        """When each token comes, from the picture's beginning on, in orders whose tokens take time like those of text;
        None where all stand at one time."""
        return None

    def noised(
        self, tokens: Float[Tensor, "b n c"], level: Float[Tensor, "b n"], noise: Noise | None, loudness: float = 1.0
    ) -> Float[Tensor, "b n c"]:
        """Tokens of which the share `level` is noise of deviation `loudness`, drawn once a picture; `noise` None is
        torch's own generator. Of gradual orders only."""
        raise ValueError("this order makes each token known at once: there is no noise in its tokens")

    def in_groups(self, groups: int, overlap: float) -> "Order":
        """The same order in so many groups. Raises ValueError if it knows none, and for an overlap outside 0 to 1."""
        raise ValueError(f"{groups} groups: this order makes each token known at once, so it draws in no groups")


class Ranked(Order):
    """Orders in which the tokens of rank r become known in step r."""

    causal = True

    @abstractmethod
    def rank(self, layout: Layout) -> Int[Tensor, "n"]:
        """The step of each token."""

    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule:
        """One rank a step; `steps` can only be the number of ranks, or None."""
        start = self.rank(layout).float().expand(batch, -1)
        return Schedule(start, start + 1)


class OneByOne(Order):
    """Orders in which no two tokens of a picture share a step: each is fed the one before it."""

    causal = True

    def feed(
        self, shown: Tensor, schedule: Schedule, level: Float[Tensor, "b n"], index: Int[Tensor, "b q"], layout: Layout,
        canvas: Callable | None = None,
    ) -> Fed:  # fmt: skip
        """The token that became known just before; the first one nothing."""
        ranks, before = before_each(schedule, index)
        pictures = torch.arange(len(index), device=index.device)[:, None]
        return Fed(shown[pictures, before], ranks > 0, level[pictures, index], index)


def before_each(schedule: Schedule, index: Int[Tensor, "b q"]) -> tuple[Int[Tensor, "b q"], Int[Tensor, "b q"]]:
    """The steps of some tokens, and the token one step before each (of the first one itself), in schedules of one token
    a step."""
    ranks = schedule.start.gather(1, index).long()
    return ranks, schedule.order.gather(1, (ranks - 1).clamp(min=0))


def place_of_fed(schedule: Schedule) -> Int[Tensor, "b n"]:
    """Each position in the place of the token that it is fed, the first one nowhere."""
    everything = torch.arange(schedule.start.shape[1], device=schedule.start.device).expand_as(schedule.start)
    ranks, before = before_each(schedule, everything)
    return torch.where(ranks > 0, before, NOWHERE)


def rank_at(
    order: Order, schedule: Schedule, step: int, layout: Layout, given: Bool[Tensor, "b n"]
) -> Int[Tensor, "b n"]:
    """Who sees whom in a step of a drawing: a token those of its own rank and of lower ones."""
    known, at_work = schedule.known(step) & ~given, schedule.visited(step) & ~given
    return order.attention_rank(schedule, layout, given, known, at_work)


def grouped_as(order: Order, groups: tuple[int, float] | None) -> Order:
    """An order in so many groups that overlap so far (None: as it is). Raises ValueError if it knows no groups."""
    return order if groups is None else order.in_groups(*groups)


def itself(shown: Tensor) -> Fed:
    """Feed every token itself: for a picture that is only read."""
    b, n = shown.shape[:2]
    place = torch.arange(n, device=shown.device).expand(b, -1)
    return Fed(shown, torch.ones_like(place, dtype=torch.bool), torch.zeros(b, n, device=shown.device), place)


def fed_itself(shown: Tensor, level: Float[Tensor, "b n"], index: Int[Tensor, "b q"]) -> Fed:
    """Known tokens, or what is known of them, in their own places; unknown ones are nothing real."""
    pictures = torch.arange(len(index), device=index.device)[:, None]
    here = level[pictures, index]
    return Fed(shown[pictures, index], here == 0, here, index)
