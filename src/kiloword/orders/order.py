"""The law of orders: the schedule of a picture's tokens and what the transformer is shown at each.

Every known way of drawing is a table of unknown shares (see `tokens/schedule.py`) and a rule for the feed.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
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


def one_by_one(rank: Int[Tensor, "n"], batch: int) -> Schedule:
    """The schedule in which the token of rank r becomes known in step r."""
    start = rank.float().expand(batch, -1)
    return Schedule(start, start + 1)


NOWHERE = -1  # the seat of a row that is fed nothing, in orders whose rows sit where the token they are fed does


def token_before(shown: Tensor, level: Tensor, pick: Int[Tensor, "b q"], rank: Int[Tensor, "n"]) -> Fed:
    """Feed each picked token the one that became known just before it; the first one is fed nothing."""
    by_rank = torch.argsort(rank)
    ranks = rank[pick]
    before = by_rank[(ranks - 1).clamp(min=0)]
    rows = torch.arange(len(pick), device=pick.device)[:, None]
    return Fed(shown[rows, before], ranks > 0, level[rows, pick], pick)


def itself(shown: Tensor) -> Fed:
    """Feed every token itself: for a span that is only read."""
    b, n = shown.shape[:2]
    place = torch.arange(n, device=shown.device).expand(b, -1)
    return Fed(shown, torch.ones_like(place, dtype=torch.bool), torch.zeros(b, n, device=shown.device), place)
