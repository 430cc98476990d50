"""Best of several: draw some candidates and keep the one for which the model itself finds the prompt likeliest.

Ramesh et al. 2021 (DALL-E, section 2.6) rerank with a second model, CLIP, which may be passed in as a judge; without
one, the model judges what it has drawn.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.document import to_describe
from kiloword.drawing import Drawing, Progress
from kiloword.engine.drive import alone, draw
from kiloword.engine.task import ReadTask
from kiloword.model import ImageModel
from kiloword.noise import Seeded, seed_for
from kiloword.tokens import Layout

# Axes: b pictures, n tokens of a picture, c candidates of each picture.

# Scores of pictures [b, n] against their texts, any one of some wordings each. More is better.
Judge = Callable[[Tensor, Layout, list[list[str]]], Tensor]

CLOSE = 1e-4  # scores nearer than this are equal: rounding must not choose


def draw_best(
    model: ImageModel, drawing: Drawing, seeds: list[int], texts: list[list[str]], candidates: int,
    judge: Judge | None = None,
) -> Iterator[tuple[Progress, list[int]]]:  # fmt: skip
    """The steps of the best of `candidates` pictures for each sample of a drawing, and the seeds that drew them.

    `texts` are the accepted wordings of each sample's prompt; without a `judge` the model itself scores them. A single
    candidate is not judged, and its steps come as they are drawn; otherwise they come once all candidates are finished.
    """
    tried = [candidate_seed(seed, k) for seed in seeds for k in range(candidates)]
    steps = draw(model, repeated(drawing, candidates), Seeded(tried))
    if candidates == 1:
        yield from ((progress, tried) for progress in steps)
        return
    drawn = list(steps)
    tokens = reencoded(model, drawn[-1], drawing.layout)
    judge = judge or partial(read_back, model)
    likely = judge(tokens, drawing.layout, [wordings for wordings in texts for _ in range(candidates)])
    best = first_best(likely.view(-1, candidates))
    for progress in drawn:
        level = None if progress.level is None else progress.level[best]
        chosen = replace(progress, tokens=progress.tokens[best], known=progress.known[best], level=level)
        yield chosen, [tried[index] for index in best.tolist()]


def reencoded(model: ImageModel, drawn: Progress, layout: Layout) -> Tensor:
    """The drawn tokens decoded to pixels and encoded again: the tokens of the picture that is shown."""
    tokenizer = model.picture.tokenizer
    return tokenizer.encode(tokenizer.decode(drawn.tokens, layout, drawn.known), layout).shown


def read_back(model: ImageModel, tokens: Tensor, layout: Layout, texts: list[list[str]]) -> Float[Tensor, "b"]:
    """log p(text | picture) of each picture, by the model's own text head; wordings of a text add up.

    A picture goes through the transformer once, however many wordings there are.
    """
    task = ReadTask(model, to_describe(tokens, layout), [list(wording) for wording in zip(*texts, strict=True)])
    for _ in alone(task, model.transformer):
        pass
    return task.log_likelihood()


def first_best(likely: Float[Tensor, "b c"]) -> Int[Tensor, "b"]:
    """The index, in the batch of b * c candidates, of each picture's best; the first of equal ones."""
    best = (likely >= likely.amax(1, keepdim=True) - CLOSE).int().argmax(1)
    return best + torch.arange(len(likely), device=likely.device) * likely.shape[1]


def candidate_seed(seed: int, candidate: int) -> int:
    """The seed of a picture's k-th candidate. The first has the picture's own seed, so best of 1 changes nothing."""
    if candidate == 0:
        return seed
    return seed_for(seed, candidate)


def repeated(drawing: Drawing, count: int) -> Drawing:
    """A drawing with every sample of the batch repeated `count` times in a row."""

    def repeat(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.repeat_interleave(count, dim=0)

    assert drawing.progress is None, "a drawing that has begun cannot be repeated"
    return replace(
        drawing, views=[view.repeated(count) for view in drawing.views],
        weights=drawing.weights.repeat_interleave(count, dim=-1), tokens=repeat(drawing.tokens),
        given=repeat(drawing.given),
    )  # fmt: skip
