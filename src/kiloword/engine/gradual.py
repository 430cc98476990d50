"""Drawing part-noised tokens: a step takes only those at work through the transformer, and what is known once more.

Lee et al. 2023 (groupwise diffusion) and Ruhe et al. 2024 (rolling diffusion) over tokens; the cache of Pope et al.
2022 holds what is known. The slow way stands in `model.py`.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from kiloword.engine.cpu.fused_stack import fused
from kiloword.model import Drawing, ImageModel, Progress, first_step, level_at, prefix_span, starting_tokens
from kiloword.noise import Noise
from kiloword.orders.order import grouped_as, turns_at
from kiloword.prompts.prompt import join
from kiloword.stream import beside, lay
from kiloword.transformer import Stream

# Axes: v views, b pictures, n tokens, q tokens now.


def draw_gradual(model: ImageModel, drawing: Drawing, noise: Noise) -> Iterator[Progress]:
    """For orders under which tokens become known little by little: keys are kept of the prompt, and of a token in the
    first step after which it does not change. What has not begun is left out."""
    order, layout = grouped_as(model.picture.order, drawing.groups), drawing.layout
    b, v = drawing.count, len(drawing.views)
    schedule = order.schedule(layout, b, drawing.steps, noise)
    tokens, given = starting_tokens(model, drawing, noise)
    condition, transformer = join(drawing.views), fused(model.transformer)
    prefix = prefix_span(condition)
    cache = transformer.cache(v * b, prefix.vectors.shape[1] + 2 * layout.count)
    first, kept = first_step(order, drawing), torch.zeros_like(given)
    for step in range(first, schedule.steps):
        level, to = (level_at(schedule, moment, given, causal=False) for moment in (step, step + 1))
        turn = turns_at(order, schedule, step, layout, given)
        fresh = (level == 0) & ~kept
        pick, present = rows_of(fresh, schedule.visited(step).to(given.device) & (level > 0), turn)
        told = (tokens, level, pick, turn.gather(1, pick))
        span, _ = model.picture_rows(condition, *(t.repeat(v, *(1,) * (t.ndim - 1)) for t in told), layout)
        if step == first and prefix.vectors.shape[1]:
            vector = beside([span], condition.vector)
            transformer(lay([prefix], vector, context=condition.context), cache)
            cache.advance(prefix.lasts)
        span = replace(span, present=present.repeat(v, 1))
        guidance = drawing.hidden_guidance(torch.full_like(pick, step))
        stream = lay([span], condition.vector, prefix.lasts, 1, context=condition.context, hidden_guidance=guidance)
        hidden = transformer(stream if fresh.any() or not present.all() else all_together(stream), cache)
        cache.advance(fresh.sum(1).repeat(v))
        kept |= fresh
        _, memo = model.picture_rows(drawing.views[0], tokens, level, pick, pick, layout, to)
        model.place(tokens, given, pick, hidden.unflatten(0, (v, b)), memo, drawing, step, noise)
        yield Progress(tokens.clone(), given | schedule.known(step + 1), step + 1, schedule.steps, to)


def rows_of(
    fresh: Bool[Tensor, "b n"], at_work: Bool[Tensor, "b n"], turn: Int[Tensor, "b n"]
) -> tuple[Int[Tensor, "b q"], Bool[Tensor, "b q"]]:
    """The tokens of a step in the order of their turns, those to be kept first; which of them are there. Others fill up
    where pictures differ: at a level that stays the same, they change nothing."""
    needed = fresh | at_work
    last = turn.max() + 1
    order = torch.where(needed, turn, last).argsort(dim=1, stable=True)[:, : max(1, int(needed.sum(1).max()))]
    return order, needed.gather(1, order)


def all_together(stream: Stream) -> Stream:
    """Rows that all see each other, with nothing said of what divides them."""
    return replace(stream, span=None, step=None, causal=None, present=None, filled=None)
