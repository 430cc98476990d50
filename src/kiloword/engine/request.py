"""Requests: what a person may ask of a model, and the job that a request is once everything about it is decided.

`resolve` is pure and comes first: whatever is wrong with a request is said before anything is queued or drawn. It looks
at the parts of a model and their settings, never at weights, so a model on the meta device will do.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from kiloword.decoders.decoder import Effort
from kiloword.engine.card import Card, Classes, asked
from kiloword.engine.guidance import GuidanceConfig
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.nearest import did_you_mean
from kiloword.noise import Seeded
from kiloword.orders.order import grouped_as
from kiloword.tokens import Layout, Ramps, Vector

# Axes: s steps, v views, b pictures.

MOST = 64  # pictures drawn by one request


@dataclass(frozen=True)
class Edit:
    """A picture, and a mask that is transparent where it is to be drawn anew."""

    picture: Image.Image
    mask: Image.Image


@dataclass(frozen=True)
class Request:
    """What to draw. None stands for the model's own setting; a given seed makes a picture come out the same again.

    `prompt` and `negative` are words, or the number or name of a class, or None: as the model's card says. `size` is
    rows and columns of pixels. `guidance` 1 is off. `edit` draws a part of a picture anew from the prompt. Of so many
    `candidates` for each picture the one is kept from which the model best reads the prompt back. `effort` is the work
    that a decoder spends on the pixels. Models that denoise tokens may be asked for `Ramps` as their steps.
    """

    prompt: str | int | None = None
    n: int = 1
    seed: int | None = None
    style: str | None = None
    size: tuple[int, int] | None = None
    guidance: float | None = None
    sampling: Sampling | None = None
    negative: str | int | None = None
    edit: Edit | None = None
    candidates: int = 1
    steps: int | Ramps | None = None
    effort: Effort | None = None


@dataclass(frozen=True)
class Job:
    """A request of which everything is decided: ready to be drawn, queued or written down.

    `prompt` is what the model's prompt reads, its style's phrase included; `away` is what guidance leads away from: a
    negative prompt, or, if it is None, no prompt at all. `weights` are those of the views at every step, 1 for a single
    view without guidance. `wordings` are what candidates are read back as, any one of them.
    """

    prompt: str | int | None
    away: str | int | None
    wordings: tuple[str, ...]
    seeds: tuple[int, ...]
    size: tuple[int, int]
    layout: Layout
    weights: Float[Tensor, "s v b"]
    sampling: Sampling
    steps: int | None
    groups: tuple[int, float] | None
    edit: Edit | None
    candidates: int
    effort: Effort
    partials: int | None

    @property
    def n(self) -> int:
        """How many pictures are drawn."""
        return len(self.seeds)

    @property
    def guided(self) -> bool:
        """Whether there is a second view to be led away from."""
        return self.weights.shape[1] > 1


def resolve(
    request: Request, card: Card, model: ImageModel, *, classes: Classes | None = None, judged: bool = False,
    partials: int | None = 0,
) -> Job:  # fmt: skip
    """The job that a request asks for. Raises ValueError for what this model cannot draw, with what it can.

    The request needs a seed. `classes` turns names of classes into numbers; `judged` says that somebody else than the
    model chooses among candidates; `partials` is how many previews are wanted (None: one a step).
    """
    if request.seed is None:
        raise ValueError("a job is drawn from a seed, and the request has none: choose one first")
    if not 1 <= request.n <= MOST:
        raise ValueError(f"n must be from 1 to {MOST}, got {request.n}")
    if not 0 <= request.seed < 2**63 - request.n:
        raise ValueError(f"a seed is a whole number from 0 to 2^63 - 1, got {request.seed}")
    if partials is not None and partials < 0:
        raise ValueError(f"partials must be 0 or more, got {partials}")
    words = asked(card, request.prompt, classes)
    prompt = phrase(card, words, request.style) if isinstance(words, str) else words
    if request.style is not None and not isinstance(words, str):
        phrase(card, "", request.style)  # an unknown one is refused
    negative = None if request.negative in (None, "") else asked(card, request.negative, classes)
    for read in (prompt, negative):
        if read is not None:
            model.prompt.check(read)
    size = _size(request, card)
    layout = model.picture.tokenizer.layout(*read_size(model, size))
    steps, groups = ramped(request.steps, card.steps)
    sampling = request.sampling or Sampling(card.temperature, card.top_k, card.top_p)
    listed = not isinstance(model.picture.tokenizer.space, Vector)
    if request.sampling and not listed and (sampling.top_k or sampling.top_p < 1):
        raise ValueError(f"{card.name} draws vectors, which are not listed: top_k and top_p do not apply")
    wordings = _candidates(request, card, model, words, judged)
    effort = request.effort or model.pixel_decoder.effort
    model.pixel_decoder.steps(layout, effort)  # one that cannot be made is refused
    return Job(
        prompt, negative, wordings, tuple(range(request.seed, request.seed + request.n)), size, layout,
        _weights(request, card, model, layout), sampling, steps, groups, request.edit, request.candidates, effort,
        partials,
    )  # fmt: skip


def phrase(card: Card, prompt: str, style: str | None) -> str:
    """The prompt in the words that ask for a style. Raises ValueError for an unknown one."""
    if style is None:
        return prompt
    if not card.styles:
        raise ValueError(f"{card.name} has no styles: leave {style!r} out")
    if style not in card.styles:
        hint = did_you_mean(style, card.styles)
        raise ValueError(f"{card.name} has no style {style!r}{hint} (styles: {', '.join(card.styles)})")
    return card.styles[style].format(prompt)


def wordings_of(card: Card, prompt: str, style: str | None) -> list[str]:
    """What a model may say of a picture of the prompt: its style's phrase; without a style the phrase of any."""
    if style is not None:
        return [phrase(card, prompt, style)]
    return [prompt, *(phrase(card, prompt, known) for known in card.styles)]


def read_size(model: ImageModel, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of pixels that the tokenizer takes, for a picture that is drawn at this size."""
    scale = model.pixel_decoder.scale
    return size[0] // scale, size[1] // scale


def edited(settings: dict) -> dict:
    """Settings in which `picture` and `mask` have become an edit. Raises ValueError if one of them is missing."""
    settings = dict(settings)
    picture, mask = settings.pop("picture", None), settings.pop("mask", None)
    if (picture is None) != (mask is None):
        raise ValueError("an edit needs both a picture and a mask: give the one that is missing")
    return settings if picture is None or mask is None else {**settings, "edit": Edit(picture, mask)}


def ramped(steps: int | Ramps | None, usual: int | None) -> tuple[int | None, tuple[int, float] | None]:
    """The steps that are asked for, or the usual ones, and groups with their overlap, if any are asked for."""
    count = steps.steps if isinstance(steps, Ramps) else steps
    count = usual if count is None else count
    if count is not None and count < 1:
        raise ValueError(f"steps must be 1 or more, got {count}")
    return count, (steps.groups, steps.overlap) if isinstance(steps, Ramps) else None


def nearest(size: tuple[int, int], sizes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Of several sizes the one nearest in shape, then in area."""

    def apart(other: tuple[int, int]) -> tuple[float, float]:
        (a, b), (c, d) = (tuple(math.log(max(1, side)) for side in sides) for sides in (size, other))
        return abs(a - b - c + d), abs(a + b - c - d)

    return min(sizes, key=apart)


def _size(request: Request, card: Card) -> tuple[int, int]:
    if request.size is None:
        return card.sizes[0]
    if tuple(request.size) not in card.sizes:
        sizes = ", ".join(f"{w}x{h}" for h, w in card.sizes)
        height, width = request.size
        rows, columns = nearest((height, width), card.sizes)
        hint = f"; the nearest is {columns}x{rows}" if len(card.sizes) > 1 else ""
        raise ValueError(f"{card.name} cannot draw {width}x{height} pixels; it draws {sizes}{hint}")
    return request.size


def _weights(request: Request, card: Card, model: ImageModel, layout: Layout) -> Float[Tensor, "s v b"]:
    """Of the prompt's view, and of the one that guidance leads away from, at every step."""
    steps, groups = ramped(request.steps, card.steps)
    order = grouped_as(model.picture.order, groups)
    schedule = order.schedule(layout, request.n, steps, Seeded([0] * request.n))  # of any seed: as long as all
    if request.steps not in (None, schedule.steps) and not order.gradual:
        raise ValueError(f"{card.name} draws this in {schedule.steps} steps: it cannot do so in {request.steps}")
    guidance = card.guidance if request.guidance is None else request.guidance
    if not math.isfinite(guidance):
        raise ValueError(f"guidance must be a finite number (1 is off), got {guidance}")
    if guidance == 1:
        return torch.ones(schedule.steps, 1, request.n)
    if card.prompts == "nothing" and request.negative is None:
        raise ValueError(f"{card.name} draws without a prompt: guidance {guidance:g} has nothing to follow")
    weights = GuidanceConfig(card.course, card.first, card.last).weights(guidance, schedule)
    model.picture.head.refuse_guidance(weights)
    return weights


def _candidates(request: Request, card: Card, model: ImageModel, words: object, judged: bool) -> tuple[str, ...]:
    """The wordings that candidates are read back as."""
    most = MOST // request.n
    if not 1 <= request.candidates <= most:
        raise ValueError(
            f"candidates must be from 1 to {most} for each of {request.n} pictures, got {request.candidates}"
        )
    wordings = wordings_of(card, words, request.style) if isinstance(words, str) else []
    if request.candidates > 1:
        if not (judged or model.text is not None) or not wordings:
            raise ValueError(f"{card.name} only draws: it cannot judge {request.candidates} candidates")
        if not judged and model.text is not None:
            model.text.encode(wordings)  # over the limit? say so at once
    return tuple(wordings)


def seeded(request: Request, seed: int) -> Request:
    """The request with this seed, if it has none of its own."""
    return replace(request, seed=seed) if request.seed is None else request
