"""Cached generation: every row goes through the transformer once (Pope et al. 2022).

Conditional and null views of all pictures are rows of one batch. The slow way stands in `model.py`.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.heads.head import Sampling
from kiloword.model import Drawing, ImageModel, Progress, pick_of, prefix_span, starting_tokens
from kiloword.noise import Noise
from kiloword.prompts.prompt import Condition
from kiloword.stream import lay, picture_span
from kiloword.tokenizers.bpe import END
from kiloword.tokens import Layout
from kiloword.transformer import Cache

# Axes: v views, b pictures, r = v b rows of the batch, q tokens now, w width.


def draw(model: ImageModel, drawing: Drawing, noise: Noise) -> Iterator[Progress]:
    """The tokens after every step, as `model.draw` gives them; stop iterating to cancel."""
    order, layout, b, v = model.picture.order, drawing.layout, drawing.count, len(drawing.views)
    schedule = order.schedule(layout, b, None, noise)
    tokens, given = starting_tokens(model, drawing)
    condition = join(drawing.views)
    prefix = prefix_span(condition)
    cache = model.transformer.cache(v * b, prefix.vectors.shape[1] + layout.count)
    read(model, lay([prefix], condition.vector), cache, prefix.lasts)
    level = torch.ones(v * b, layout.count, device=tokens.device)
    one = torch.ones(v * b, dtype=torch.long)
    for step in range(schedule.steps):
        pick = pick_of(schedule, step)
        rows = pick.repeat(v, 1)
        fed = order.feed(tokens.repeat(v, *(1,) * (tokens.ndim - 1)), level, rows, layout)
        vectors, _ = model.picture.head.enter(fed, layout)
        when = schedule.start.long().repeat(v, 1).gather(1, rows)
        span = picture_span(vectors, layout, fed.place, when, order.causal)
        hidden = read(model, lay([span], condition.vector, prefix.lasts, first=1), cache, one * pick.shape[1])
        model.place(tokens, given, pick, hidden.unflatten(0, (v, b)), drawing, noise)
        yield Progress(tokens.clone(), given | (schedule.level(step + 1) == 0), step + 1, schedule.steps)


def write(model: ImageModel, pictures: Tensor, layout: Layout, sampling: Sampling, noise: Noise) -> list[str]:
    """A text for each picture, token by token until all have ended or the limit is reached."""
    text = model.text
    if text is None:
        raise ValueError("this model only draws: it has no text to write")
    b = len(pictures)
    picture = model.reading_span(pictures, layout)
    cache = model.transformer.cache(b, picture.vectors.shape[1] + text.limit)
    read(model, lay([picture]), cache, torch.full((b,), picture.vectors.shape[1]))
    ids = torch.full((b, text.limit), END, device=pictures.device)
    present = torch.ones_like(ids, dtype=torch.bool)
    alive = torch.ones(b, dtype=torch.bool, device=pictures.device)
    one, weights, rows = torch.ones(b, dtype=torch.long), torch.ones(1, b, device=pictures.device), torch.arange(b)
    for place in range(text.limit):
        span = text.span(ids, present, torch.full((b, 1), place, device=ids.device))
        hidden = read(model, lay([span], None, picture.lasts, first=1), cache, one)
        chosen = text.head.sample(hidden[None], weights, None, sampling, noise, rows)[:, 0]
        ids[:, place] = torch.where(alive, chosen, END)
        alive = alive & (chosen != END)
        if not alive.any():
            break
    return [text.tokenizer.decode(row) for row in ids.tolist()]


def read(model: ImageModel, stream, cache: Cache, keep: Int[Tensor, "r"]) -> Float[Tensor, "r q w"]:
    """Send rows through the transformer and keep the first `keep` of each in the cache."""
    hidden = model.transformer(stream, cache)
    cache.advance(keep)
    return hidden


def join(views: list[Condition]) -> Condition:
    """All views as rows of one batch; shorter ones are filled up with absent rows."""
    longest = max(view.prefix.shape[1] for view in views)
    padded = []
    for view in views:
        b, m, w = view.prefix.shape
        padded.append(replace(
            view,
            prefix=torch.cat([view.prefix, view.prefix.new_zeros(b, longest - m, w)], dim=1),
            present=torch.cat([view.present, view.present.new_zeros(b, longest - m)], dim=1),
        ))  # fmt: skip
    vectors = [view.vector for view in padded if view.vector is not None]
    return Condition(
        torch.cat([view.prefix for view in padded]), torch.cat([view.present for view in padded]),
        torch.cat(vectors) if vectors else None,
    )  # fmt: skip
