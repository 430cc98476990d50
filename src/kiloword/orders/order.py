"""The law of orders: the schedule of a picture's tokens and what the transformer is shown at each.

Every known way of drawing is a table of unknown shares (see `tokens/schedule.py`) and a rule for the feed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kiloword.noise import Noise
from kiloword.tokens import Fed, Layout, Schedule

# Axes: b pictures, n tokens of the picture, q tokens picked.


@runtime_checkable
class Order(Protocol):
    """`causal` says that a token's row must not see rows of later steps of its own span.

    An order is `painted` if it feeds not tokens but what has been painted so far: `canvas(shown, scale)` is that of the
    grids before `scale`, at the size of that grid.
    """

    causal: bool
    painted: bool

    def seats(self, layout: Layout) -> Int[Tensor, "n"]:
        """Where the row that asks for each token sits: in the place of that token, or of the one that it is fed."""
        ...

    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule: ...

    def lesson(self, layout: Layout, batch: int, noise: Noise | None) -> Float[Tensor, "b n"]: ...

    def feed(
        self, shown: Tensor, level: Float[Tensor, "b n"], pick: Int[Tensor, "b q"], layout: Layout,
        canvas: Callable | None = None,
    ) -> Fed: ...  # fmt: skip


@runtime_checkable
class Timed(Protocol):
    """Orders whose rows take time, like those of text, when they are drawn and when they are read: when each comes,
    from the picture's beginning on. The rows of all others stand at one time."""

    def moments(self, layout: Layout) -> Int[Tensor, "n"]: ...


@runtime_checkable
class Gradual(Protocol):
    """The power of orders under which tokens become known little by little: until then they are part noise."""

    def noised(
        self, tokens: Float[Tensor, "b n c"], level: Float[Tensor, "b n"], noise: Noise | None, loudness: float = 1.0
    ) -> Float[Tensor, "b n c"]:
        """Tokens of which the share `level` is noise, drawn once a picture; `noise` None is torch's own generator."""
        ...

    def turns(
        self, layout: Layout, given: Bool[Tensor, "b n"], known: Bool[Tensor, "b n"], at_work: Bool[Tensor, "b n"]
    ) -> Int[Tensor, "b n"]:
        """Who sees whom: a row those of its own turn and of earlier ones. What is `known` has become so here; what is
        `given` was so from the start."""
        ...

    def in_groups(self, groups: int, overlap: float) -> Order:
        """The same order in so many groups. Raises ValueError for an overlap outside of 0 to 1."""
        ...


def turns_at(
    order: Order, schedule: Schedule, step: int, layout: Layout, given: Bool[Tensor, "b n"]
) -> Int[Tensor, "b n"]:
    """Who sees whom in a step: a row those of its own turn and of earlier ones."""
    if not isinstance(order, Gradual):
        return schedule.start.long().to(given.device)
    known, at_work = (rows.to(given.device) & ~given for rows in (schedule.known(step), schedule.visited(step)))
    return order.turns(layout, given, known, at_work)


def grouped_as(order: Order, groups: tuple[int, float] | None) -> Order:
    """An order in so many groups that overlap so far (None: as it is). Raises ValueError if it knows no groups."""
    if groups is None:
        return order
    if not isinstance(order, Gradual):
        raise ValueError(f"{groups[0]} groups: this order makes each token known at once, so it draws in no groups")
    return order.in_groups(*groups)


NOWHERE = -1  # the seat of a row that is fed nothing, in orders whose rows sit where the token they are fed does


class Ranked(ABC):
    """Orders in which the tokens of rank r become known in step r, all of them predicted in a lesson."""

    causal = True

    @abstractmethod
    def rank(self, layout: Layout) -> Int[Tensor, "n"]:
        """The step of each token."""

    def seats(self, layout: Layout) -> Int[Tensor, "n"]:
        """Each in its own place."""
        return torch.arange(layout.count)

    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule:
        """One rank a step; `steps` can only be the number of ranks, or None."""
        start = self.rank(layout).float().expand(batch, -1)
        return Schedule(start, start + 1)

    def lesson(self, layout: Layout, batch: int, noise: Noise | None) -> Float[Tensor, "b n"]:
        """Every token is to be predicted."""
        return torch.ones(batch, layout.count)


class OneByOne(Ranked):
    """Ranked orders in which no two tokens share a step: each is told the one before it."""

    painted = False

    def feed(
        self, shown: Tensor, level: Float[Tensor, "b n"], pick: Int[Tensor, "b q"], layout: Layout,
        canvas: Callable | None = None,
    ) -> Fed:  # fmt: skip
        """Each picked token is fed the one that became known just before it; the first one nothing."""
        rank = self.rank(layout).to(pick.device)
        by_rank, ranks = torch.argsort(rank), rank[pick]
        before = by_rank[(ranks - 1).clamp(min=0)]
        rows = torch.arange(len(pick), device=pick.device)[:, None]
        return Fed(shown[rows, before], ranks > 0, level[rows, pick], pick)


def itself(shown: Tensor) -> Fed:
    """Feed every token itself: for a span that is only read."""
    b, n = shown.shape[:2]
    place = torch.arange(n, device=shown.device).expand(b, -1)
    return Fed(shown, torch.ones_like(place, dtype=torch.bool), torch.zeros(b, n, device=shown.device), place)
