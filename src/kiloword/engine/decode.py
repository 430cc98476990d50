"""Cached generation: every row goes through the transformer once (Pope et al. 2022).

Conditional and null views of all pictures are rows of one batch. The slow way stands in `model.py`.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.engine.canvas import RunningCanvas
from kiloword.engine.cpu.fused_stack import fused
from kiloword.engine.gradual import draw_gradual
from kiloword.heads.head import Denoising, Sampling
from kiloword.model import (
    Drawing,
    ImageModel,
    Progress,
    first_step,
    level_at,
    prefix_span,
    started,
    starting_tokens,
)
from kiloword.noise import Noise
from kiloword.orders.order import grouped_as
from kiloword.prompts.prompt import join
from kiloword.stream import beside, lay, picture_span, text_span
from kiloword.tokens import Layout, Schedule
from kiloword.transformer import Cache, Stream, Transformer

# Axes: v views, b pictures, r = v b rows of the batch, q tokens now, w width.


def draw(model: ImageModel, drawing: Drawing, noise: Noise) -> Iterator[Progress]:
    """The tokens after every step, as `model.draw` gives them; stop iterating to cancel."""
    order, head = model.picture.order, model.picture.head
    if isinstance(head, Denoising) and not head.whole:
        return draw_gradual(model, drawing, noise)
    return (draw_cached if order.causal else draw_whole)(model, drawing, noise)


def draw_cached(model: ImageModel, drawing: Drawing, noise: Noise) -> Iterator[Progress]:
    """For orders whose rows never change again once they have been visited."""
    order, head, layout = grouped_as(model.picture.order, drawing.groups), model.picture.head, drawing.layout
    b, v = drawing.count, len(drawing.views)
    schedule = order.schedule(layout, b, drawing.steps, noise)
    tokens, given = starting_tokens(model, drawing, noise)
    condition = join(drawing.views)
    prefix = prefix_span(condition)
    transformer = fused(model.transformer)
    cache = transformer.cache(v * b, prefix.vectors.shape[1] + layout.count)
    if prefix.vectors.shape[1]:
        read(transformer, lay([prefix], condition.vector, context=condition.context), cache, prefix.lasts)
    start, canvas = schedule.start.long().repeat(v, 1).to(tokens.device), RunningCanvas(model, layout)
    blank = prefix.vectors.new_zeros(*start.shape, prefix.vectors.shape[2])
    seats = order.seats(layout).expand(v * b, -1).to(tokens.device)
    picture = picture_span(blank, layout, seats, start, order.causal, moments=model.moments(layout))
    picture = lay([picture], condition.vector, prefix.lasts, first=1, context=condition.context)
    level, one = level_at(schedule, 0, given, causal=True), torch.ones(v * b, dtype=torch.long)
    for step, pick in enumerate(picks_of(schedule)):
        fed = order.feed(tokens, level, pick, layout, canvas)
        vectors, memo = head.enter(fed, layout)
        vectors = started(vectors.repeat(v, 1, 1), fed.real.repeat(v, 1), condition)
        guidance = drawing.hidden_guidance(torch.full_like(pick, step))
        stream = replace(rows_of(picture, pick.repeat(v, 1), vectors), hidden_guidance=guidance)
        hidden = read(transformer, stream, cache, one * pick.shape[1])
        model.place(tokens, given, pick, hidden.unflatten(0, (v, b)), memo, drawing, step, noise)
        yield Progress(tokens.clone(), given | schedule.known(step + 1), step + 1, schedule.steps)


def draw_whole(model: ImageModel, drawing: Drawing, noise: Noise) -> Iterator[Progress]:
    """For orders in which every row sees every other one: all go through the transformer at every step, the views in
    one batch."""
    order, layout = grouped_as(model.picture.order, drawing.groups), drawing.layout
    b, v = drawing.count, len(drawing.views)
    schedule = order.schedule(layout, b, drawing.steps, noise)
    tokens, given = starting_tokens(model, drawing, noise)
    condition = join(drawing.views)
    prefix, everything = prefix_span(condition), torch.arange(layout.count, device=tokens.device).expand(v * b, -1)
    shape = (v, *(1,) * (tokens.ndim - 1))
    for step in range(first_step(order, drawing), schedule.steps):
        pick = model.visited(schedule, step)
        level, to = (level_at(schedule, moment, given, causal=False) for moment in (step, step + 1))
        still = torch.zeros_like(everything)
        rows, _ = model.picture_rows(condition, tokens.repeat(shape), level.repeat(v, 1), everything, still, layout)
        hidden_guidance = drawing.hidden_guidance(torch.full_like(everything[:b], step))
        stream = lay([prefix, rows], condition.vector, context=condition.context, hidden_guidance=hidden_guidance)
        hidden = model.transformer(replace(stream, asked=prefix.vectors.shape[1] + pick.repeat(v, 1)))
        _, memo = model.picture_rows(drawing.views[0], tokens, level, pick, pick, layout, to)
        model.place(tokens, given, pick, hidden.unflatten(0, (v, b)), memo, drawing, step, noise)
        yield Progress(tokens.clone(), given | schedule.known(step + 1), step + 1, schedule.steps, to)


def write(model: ImageModel, pictures: Tensor, layout: Layout, sampling: Sampling, noise: Noise) -> list[str]:
    """A text for each picture, token by token until all have ended or the limit is reached."""
    text = model.text
    if text is None:
        raise ValueError("this model only draws: it has no text to write")
    b, device = len(pictures), pictures.device
    spans, after = model.reading(pictures, layout)
    seen, end = lay(spans), text.tokenizer.end
    transformer = fused(model.transformer)
    cache = transformer.cache(b, seen.vectors.shape[1] + text.limit)
    read(transformer, seen, cache, torch.full((b,), seen.vectors.shape[1]))
    ids = torch.full((b, text.limit), end, device=device)
    blank = seen.vectors.new_zeros(b, text.limit, seen.vectors.shape[2])
    span = text_span(blank, torch.ones_like(ids, dtype=torch.bool), text.order.causal)
    lasts = torch.stack([one.lasts for one in spans]).sum(0)
    stream, line = lay([span], beside(spans), lasts, first=len(spans)), Layout(((1, text.limit),))
    alive, level = torch.ones(b, dtype=torch.bool, device=device), torch.ones(ids.shape, device=device)
    one, weights, rows = torch.ones(b, dtype=torch.long), torch.ones(1, b, device=device), torch.arange(b)
    for pick in torch.arange(text.limit, device=device).expand(b, -1).split(1, dim=1):
        fed = text.order.feed(ids, level, pick, line)
        vectors, _ = text.head.enter(fed, line)
        vectors = vectors if after is None else started(vectors, fed.real, after)
        hidden = read(transformer, rows_of(stream, pick, vectors), cache, one)
        chosen = text.head.sample(hidden[None], weights, None, sampling, noise, rows)
        ids.scatter_(1, pick, torch.where(alive[:, None], chosen, end))
        alive = alive & (chosen[:, 0] != end)
        if not alive.any():
            break
    return [text.tokenizer.decode(row) for row in ids.tolist()]


def read(transformer: Transformer, stream: Stream, cache: Cache, keep: Int[Tensor, "r"]) -> Float[Tensor, "r q w"]:
    """Send rows through the transformer and keep the first `keep` of each in the cache."""
    hidden = transformer(stream, cache)
    cache.advance(keep)
    return hidden


def picks_of(schedule: Schedule) -> tuple[Int[Tensor, "b q"], ...]:
    """The tokens visited in every step, in the order of the picture, where a step is all that a token takes."""
    steps, counts = schedule.start[0].long().unique(return_counts=True)
    assert len(steps) == schedule.steps, "some steps visit nothing"
    return schedule.start.argsort(dim=1, stable=True).split(counts.tolist(), dim=1)


def rows_of(stream: Stream, pick: Int[Tensor, "r q"], vectors: Float[Tensor, "r q w"]) -> Stream:
    """The rows of one step of a stream that is laid out already, with the vectors that they have by now: all of them
    are there and see each other."""
    index = torch.arange(len(pick), device=pick.device)[:, None]
    return Stream(vectors, stream.positions[index, pick], modulation=stream.modulation, context=stream.context)
