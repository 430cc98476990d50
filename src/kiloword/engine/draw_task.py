"""A drawing as a task: the prefix before its pictures first, then the positions that each step needs.

Pope et al. 2022 for keeping what never changes in a cache; Lee et al. 2023 (groupwise diffusion) and Ruhe et al. 2024
(rolling diffusion) for sending only tokens being denoised. The slow way stands in `model.py`.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kiloword.document import picture_span
from kiloword.drawing import Drawing, DrawingState, Progress
from kiloword.engine.canvas import RunningCanvas
from kiloword.engine.task import Batchlet, Task
from kiloword.heads.head import memo_at
from kiloword.model import ImageModel
from kiloword.noise import Noise
from kiloword.opening import Opening, behind, following, join, started
from kiloword.tokens import Schedule
from kiloword.transformer import Stream

# Axes: v views, b pictures, r = v b sequences of the batch, n tokens, q tokens now, w width.


@dataclass(frozen=True)
class Sent:
    """What a step sends, which tokens come back, and the head's memo of them."""

    batchlet: Batchlet
    index: Int[Tensor, "b q"]
    memo: Any


class DrawTask(Task):
    """The pictures of one drawing. `progress` is how far it has come, None before the first step."""

    def __init__(self, model: ImageModel, drawing: Drawing, noise: Noise):
        self.state, opening = DrawingState(model.picture, drawing, noise), join(drawing.views)
        self._send = sending(model, self.state, opening)
        super().__init__(opening, self._send.added, cached=model.transformer.causal)
        self.step = self.state.first
        self.progress: Progress | None = None
        self._sent: Sent | None = None

    def _next(self) -> Batchlet | None:
        if self.step == self.state.steps:
            return None
        if self._sent is None:
            self._sent = self._send(self.step)
        return self._sent.batchlet

    def _advance(self, hidden: Float[Tensor, "r q w"]) -> None:
        sent = self._sent
        assert sent is not None, "hidden vectors come after a batchlet was sent"
        views = hidden.unflatten(0, (-1, self.state.drawing.count))
        self.state.sample_into(self.step, sent.index, views, sent.memo)
        self.progress, self._sent = self.state.progress(self.step), None
        self.step += 1


class Sending:
    """How the positions of a step are sent; a cache must hold at most `added` of them."""

    added: int

    def __call__(self, step: int) -> Sent:
        raise NotImplementedError


def sending(model: ImageModel, state: DrawingState, opening: Opening) -> Sending:
    """Each position once for causal orders, those being denoised where attention is by rank, else all."""
    if state.causal:
        return EachOnce(model, state, opening)
    return AtWork(model, state, opening) if model.picture.ranked else AllAnew(model, state, opening)


class EachOnce(Sending):
    """For causal orders: the tokens of a step, which attend to each other and stay cached."""

    def __init__(self, model: ImageModel, state: DrawingState, opening: Opening):
        self.state, self.opening, self.head, order = state, opening, model.picture.head, model.picture.order
        self.index, self.canvas = steps_of(state.schedule), RunningCanvas(model, state.layout)
        blank = self.opening.condition.prefix.new_zeros(*state.given.shape, 0)
        ranks = order.row_positions(state.schedule, state.layout)
        picture = picture_span(blank, state.layout, ranks, ranks, True, times=order.times(state.layout))
        sequences = len(opening.time)
        self.views = sequences // len(blank)
        self.positions = picture.positions.repeat(self.views, 1, 1)
        self.positions[..., 0] += self.opening.time[:, None]
        self.modulation = self.opening.modulation(None, model.transformer.modulated)
        self.sequence, self.added = torch.arange(sequences, device=ranks.device)[:, None], state.layout.count

    def __call__(self, step: int) -> Sent:
        index = self.index[step]
        fed = self.state.feed(step, index, self.canvas)
        vectors, memo = self.head.enter(fed, self.state.layout)
        indices, condition = index.repeat(self.views, 1), self.opening.condition
        vectors = started(vectors.repeat(self.views, 1, 1), fed.real.repeat(self.views, 1), condition.start)
        stream = Stream(
            vectors, self.positions[self.sequence, indices], modulation=self.modulation, context=condition.context,
            hidden_guidance=self.state.drawing.hidden_guidance(torch.full_like(index, step)),
        )  # fmt: skip
        return Sent(Batchlet(stream, torch.full((len(indices),), index.shape[1])), index, memo)


class AllAnew(Sending):
    """For orders in which all tokens of a picture attend to each other: all of them every time, and none stays.
    Without a cache the prefix is sent again too."""

    def __init__(self, model: ImageModel, state: DrawingState, opening: Opening):
        self.model, self.state, self.opening = model, state, opening
        self.added, self.none = state.layout.count, torch.zeros(len(opening.time), dtype=torch.long)

    def __call__(self, step: int) -> Sent:
        state, transformer = self.state, self.model.transformer
        everything, visited = state.everything(), state.visited(step)
        fed, still = state.feed(step, everything), torch.zeros_like(everything)
        span, memo = self.model.picture.drawn_span(fed, state.schedule, still, state.layout)
        hidden_guidance = state.drawing.hidden_guidance(torch.full_like(everything, step))
        if transformer.causal:
            stream = all_together(following(self.opening, span, transformer.modulated))
            stream = replace(stream, hidden_guidance=hidden_guidance)
        else:
            stream = behind(self.opening, span, transformer.modulated, hidden_guidance)
        first = stream.vectors.shape[1] - state.layout.count
        query_index = first + visited.repeat(len(self.none) // len(visited), 1)
        return Sent(Batchlet(replace(stream, query_index=query_index), self.none), visited, memo_at(memo, visited))


class AtWork(Sending):
    """For orders under which tokens become known little by little: a token is kept in the first step after which it
    does not change; what has not begun is left out."""

    def __init__(self, model: ImageModel, state: DrawingState, opening: Opening):
        self.model, self.state, self.opening = model, state, opening
        self.kept, self.views = torch.zeros_like(state.given), len(opening.time) // state.drawing.count
        self.added = 2 * state.layout.count

    def __call__(self, step: int) -> Sent:
        state = self.state
        level, rank = state.level(step), state.rank(step)
        fresh = (level == 0) & ~self.kept
        index, present = tokens_now(fresh, state.schedule.visited(step) & (level > 0), rank)
        self.kept = self.kept | fresh
        fed = state.feed(step, index)
        span, memo = self.model.picture.drawn_span(fed, state.schedule, rank.gather(1, index), state.layout)
        stream = following(self.opening, replace(span, present=present), self.model.transformer.modulated)
        stream = stream if fresh.any() or not present.all() else all_together(stream)
        stream = replace(stream, hidden_guidance=state.drawing.hidden_guidance(torch.full_like(index, step)))
        return Sent(Batchlet(stream, fresh.sum(1).repeat(self.views)), index, memo)


def steps_of(schedule: Schedule) -> tuple[Int[Tensor, "b q"], ...]:
    """The tokens visited in every step, in the order of the picture, where each token is sampled in a single step."""
    steps, counts = schedule.start[0].long().unique(return_counts=True)
    assert len(steps) == schedule.steps, "some steps visit nothing"
    return schedule.order.split(counts.tolist(), dim=1)


def tokens_now(
    fresh: Bool[Tensor, "b n"], at_work: Bool[Tensor, "b n"], rank: Int[Tensor, "b n"]
) -> tuple[Int[Tensor, "b q"], Bool[Tensor, "b q"]]:
    """The tokens of a step in the order of their ranks, those to be kept first; which of them are there. Others fill up
    where pictures differ: at a level that stays the same, they change nothing."""
    needed = fresh | at_work
    last = rank.max() + 1
    order = torch.where(needed, rank, last).argsort(dim=1, stable=True)[:, : max(1, int(needed.sum(1).max()))]
    return order, needed.gather(1, order)


def all_together(stream: Stream) -> Stream:
    """Positions that all attend to each other, with no attention fields."""
    return replace(stream, span=None, step=None, causal=None, present=None, filled=None)
