"""A drawing: the request to generate pictures, its progress, and its state: the tokens and their schedule.

The slow way in `model.py` and every task of `engine/` go through the same state.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from kiloword.heads.head import Sampling
from kiloword.modality import Modality
from kiloword.noise import Noise
from kiloword.opening import Opening
from kiloword.orders.order import grouped_as, rank_at
from kiloword.tokens import Fed, Layout, Vector
from kiloword.tokens.space import values_of
from kiloword.transformer import HiddenGuidance, hidden_guidance_at

# Axes: s steps, v views, b pictures, n tokens of a picture, q tokens now, w width.


@dataclass(frozen=True)
class Drawing:
    """A request to draw `count` pictures of one layout.

    `views` are the contexts that guidance combines, `count` entries each: the prompt first, then the null or a negative
    prompt; `weights` sum to 1 over views. Weights and sampling may differ from step to step: [s, v, b], and a tuple.
    `given` tokens [b, n] stay as they are in `tokens`. `steps` None: the order's default. Views are combined by the
    head, or inside the transformer `after_block` of this index (-1: the last one). `groups`, a number and an overlap in
    [0, 1], are for gradual orders. A drawing continues from its `progress`.
    """

    layout: Layout
    views: list[Opening]
    weights: Float[Tensor, "v b"] | Float[Tensor, "s v b"]
    sampling: Sampling | tuple[Sampling, ...] = Sampling()
    tokens: Tensor | None = None
    given: Bool[Tensor, "b n"] | None = None
    steps: int | None = None
    after_block: int | None = None
    groups: tuple[int, float] | None = None
    progress: "Progress | None" = None

    @property
    def count(self) -> int:
        return self.weights.shape[-1]

    @property
    def soft(self) -> bool:
        """Whether tokens are sampled as distributions over codes."""
        return self.sampling_at(0).soft is not None

    def weights_at(self, step: int) -> Float[Tensor, "v b"]:
        return self.weights if self.weights.ndim == 2 else self.weights[step]

    def output_weights_at(self, step: int) -> Float[Tensor, "v b"]:
        """The weights of guidance at the head: 1 for the first view if the transformer has combined them already."""
        weights = self.weights_at(step)
        return weights if self.after_block is None else torch.eye(len(weights), 1).expand_as(weights)

    def hidden_guidance(self, steps: Int[Tensor, "b q"]) -> HiddenGuidance | None:
        """The guidance inside the transformer for positions that are predicted at these steps; None if it has none."""
        return hidden_guidance_at(self.after_block, self.weights, steps)

    def sampling_at(self, step: int) -> Sampling:
        return self.sampling if isinstance(self.sampling, Sampling) else self.sampling[step]


@dataclass(frozen=True)
class Progress:
    """The tokens [b, n, ...] after `step` of `steps`, which of them are known, and their levels (None in causal
    orders)."""

    tokens: Tensor
    known: Bool[Tensor, "b n"]
    step: int
    steps: int
    level: Float[Tensor, "b n"] | None = None


def resumed(drawing: Drawing, progress: Progress) -> Drawing:
    """The drawing continued from `progress`: with the same noise and views it gives the same picture."""
    return replace(drawing, progress=progress)


class DrawingState:
    """A drawing in progress: its tokens [b, n, ...], which of them are given, and its schedule.

    One step: the input from `feed`, a forward pass of the transformer, `sample_into` the tokens.
    """

    def __init__(self, modality: Modality, drawing: Drawing, noise: Noise):
        self.modality, self.drawing, self.noise, self.layout = modality, drawing, noise, drawing.layout
        order = grouped_as(modality.order, drawing.groups)
        schedule = order.schedule(self.layout, drawing.count, drawing.steps, noise)
        self.schedule = schedule.to(drawing.weights.device)
        self.tokens, self.given = starting_tokens(modality, drawing, noise)
        self.steps = self.schedule.steps
        been = drawing.progress  # earlier steps need not be gone through again if no noise is drawn in them
        self.first = min(been.step, been.steps - 1) if been is not None and order.gradual else 0

    @property
    def causal(self) -> bool:
        return self.modality.order.causal

    def level(self, step: int) -> Float[Tensor, "b n"]:
        """The level at which tokens are fed in a step; in causal orders always 1, as each was when it was predicted."""
        if self.causal:
            return torch.ones(self.given.shape, device=self.given.device)
        return self.schedule.level(step).float().masked_fill(self.given, 0.0)

    def visited(self, step: int) -> Int[Tensor, "b q"]:
        """The tokens that are predicted in a step, in layout order."""
        if self.modality.head.whole:
            return self.everything()
        return chosen(self.schedule.visited(step))

    def up_to(self, step: int) -> Int[Tensor, "b q"]:
        """The tokens that go through the transformer without a cache: in causal orders up to this step, else all."""
        return chosen(self.schedule.start <= step) if self.causal else self.everything()

    def everything(self) -> Int[Tensor, "b n"]:
        return torch.arange(self.layout.count, device=self.given.device).expand_as(self.given)

    def rank(self, step: int) -> Int[Tensor, "b n"]:
        """The rank of each token in attention at a step (see `Order.attention_rank`)."""
        return rank_at(self.modality.order, self.schedule, step, self.layout, self.given)

    def feed(self, step: int, index: Int[Tensor, "b q"], canvas: Callable | None = None) -> Fed:
        """The input of the positions that predict the tokens of `index` in a step."""
        to = None if self.causal else self.level(step + 1)
        return self.modality.feed(self.tokens, self.schedule, self.level(step), index, self.layout, to, canvas)

    def sample_into(self, step: int, index: Int[Tensor, "b q"], hidden: Float[Tensor, "v b q w"], memo: Any) -> None:
        """Sample the tokens of `index` and write those that are not given."""
        drawing, pictures = self.drawing, torch.arange(len(index))
        weights, sampling = drawing.output_weights_at(step).to(hidden), drawing.sampling_at(step)
        drawn = self.modality.head.sample(hidden, weights, memo, sampling, self.noise, pictures)
        fixed = self.given[pictures[:, None], index].view(*index.shape, *(1,) * (self.tokens.ndim - 2))
        self.tokens[pictures[:, None], index] = torch.where(fixed, self.tokens[pictures[:, None], index], drawn)

    def progress(self, step: int) -> Progress:
        """The progress after a step."""
        known = self.given | self.schedule.known(step + 1)
        level = None if self.causal else self.level(step + 1)
        return Progress(self.tokens.clone(), known, step + 1, self.steps, level)


def starting_tokens(modality: Modality, drawing: Drawing, noise: Noise) -> tuple[Tensor, Bool[Tensor, "b n"]]:
    """The initial tokens (zeros or noise, the given ones, or those that a drawing continues from), and which are
    given."""
    space, b, n, device = modality.tokenizer.space, drawing.count, drawing.layout.count, drawing.weights.device
    given = torch.zeros(b, n, dtype=torch.bool, device=device) if drawing.given is None else drawing.given
    kind = torch.float if isinstance(space, Vector) or drawing.soft else torch.long
    tail = (*space.tail, int(values_of(space).max())) if drawing.soft else space.tail
    tokens = torch.zeros(b, n, *tail, dtype=kind, device=device)
    if drawing.tokens is not None:
        space.check(drawing.tokens)
        shown = one_hot(drawing.tokens, tail[-1]).to(kind) if drawing.soft else drawing.tokens
        tokens = torch.where(given.view(b, n, *(1,) * len(tail)), shown, tokens)
    order, progress = modality.order, drawing.progress
    if order.gradual:
        if progress is None:
            return order.noised(tokens, (~given).float(), noise, drawing.sampling_at(0).temperature), given
        return progress.tokens.clone(), given | progress.known & (progress.step == progress.steps)
    return (tokens, given) if progress is None else (progress.tokens.clone(), given | progress.known)


def chosen(tokens: Bool[Tensor, "b n"]) -> Int[Tensor, "b q"]:
    """The indices of the tokens that are true, equally many in each picture."""
    return tokens.nonzero()[:, 1].view(len(tokens), -1)
