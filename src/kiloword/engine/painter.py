"""Painter: prompts in, pictures out; the one object that the command line, the server and a notebook talk to.

The way of native image generation: text and picture tokens in one transformer (OpenAI 2025, addendum to the GPT-4o
system card), previews on the way, one seed a picture.
"""

import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from kiloword.decoders.decoder import Effort
from kiloword.engine.card import Card, Classes, asked
from kiloword.engine.cpu.packed_linear import pack_matrices
from kiloword.engine.decode import write
from kiloword.engine.fitting import showable
from kiloword.engine.guidance import GuidanceConfig
from kiloword.engine.preview import previews
from kiloword.engine.rerank import Judge, draw_best
from kiloword.heads.head import Sampling, Unguided
from kiloword.model import Drawing, ImageModel
from kiloword.nearest import did_you_mean
from kiloword.noise import Seeded
from kiloword.orders.order import Gradual, grouped_as
from kiloword.pixels import composite, from_image, to_image
from kiloword.prompts.prompt import Condition
from kiloword.tokens import Layout, Ramps, Vector

# Axes: s steps, v views, b pictures, n tokens, c channels, H W pixels.

MOST = 64  # pictures drawn by one request


@dataclass(frozen=True)
class Edit:
    """A picture, and a mask that is transparent where it is to be drawn anew."""

    picture: Image.Image
    mask: Image.Image


@dataclass(frozen=True)
class Request:
    """What to draw. None stands for the model's own setting; a given seed makes a picture come out the same again.

    `prompt` and `negative` are words, or the number or name of a class, or None: as the model's card says. `edit` draws
    a part of a picture anew from the prompt. Of so many `candidates` for each picture the one is kept from which the
    model best reads the prompt back. `effort` is the work that a decoder spends on the pixels. Models that denoise
    tokens may be asked for `Ramps` as their steps.
    """

    prompt: str | int | None = None
    n: int = 1
    seed: int | None = None
    style: str | None = None
    size: tuple[int, int] | None = None  # rows, columns
    guidance: float | None = None
    sampling: Sampling | None = None
    negative: str | int | None = None
    edit: Edit | None = None
    candidates: int = 1
    steps: int | Ramps | None = None
    effort: Effort | None = None


@dataclass(frozen=True)
class Preview:
    """A picture on its way: RGBA, after `step` of `steps`; `known` says which tokens are decided.

    `seed` draws this very picture again, as a request for one picture and one candidate.
    """

    image: Image.Image
    step: int
    steps: int
    known: Bool[Tensor, "n"]
    index: int = 0  # which of the request's n pictures
    seed: int = 0

    @property
    def final(self) -> bool:
        return self.step == self.steps


class Painter:
    """A model with its card, ready to draw.

    `classes` turns names of classes into numbers, for models that have any; of several candidates `judge` chooses, or
    the model itself.
    """

    def __init__(self, model: ImageModel, card: Card, classes: Classes | None = None, judge: Judge | None = None):
        self.model, self.card, self.classes, self.judge = model.eval(), card, classes, judge
        pack_matrices(model)

    def generate(self, prompt: str | int | None = None, **settings) -> list[Image.Image]:
        """The pictures of a prompt, of a class, or of none. `settings` are the fields of `Request`, or, for an edit,
        `picture` and `mask`."""
        return [preview.image for preview in self.stream(prompt, partials=0, **settings)]

    def stream(self, prompt: str | int | None = None, *, partials: int | None = 5, **settings) -> Iterator[Preview]:
        """`partials` previews of every picture, spread evenly over the drawing (None: one a step), then the picture.

        Close the iterator to cancel between two steps. With several candidates the previews are those of the picture
        that is kept, so they come when all have been drawn.
        """
        return self.run(replace(Request(prompt), **edited(settings)), partials)

    @torch.no_grad()
    def run(self, request: Request, partials: int | None = 0) -> Iterator[Preview]:
        """The same for a request that is already put together."""
        request = self._checked(request, partials)
        seed = secrets.randbelow(2**31) if request.seed is None else request.seed
        seeds = [seed + index for index in range(request.n)]
        size = request.size or self.card.sizes[0]
        layout = self.model.picture.tokenizer.layout(*self.read_size(size))
        decoder = self.model.pixel_decoder
        decoder.steps(layout, request.effort or decoder.effort)  # one that cannot be made is refused
        drawing, original, fresh = self._edit(self._drawing(request, layout), request, size)
        texts = [self.wordings(request.prompt, request.style) if isinstance(request.prompt, str) else []] * request.n
        drawn = draw_best(self.model, drawing, seeds, texts, request.candidates, self.judge)
        for look in previews(self.model, drawn, layout, request.effort, partials):
            pixels, known = showable(look.pixels), look.known.cpu()
            if original is not None and fresh is not None:
                pixels = torch.where(fresh, pixels, original)
            for index, picture in enumerate(pixels):
                yield Preview(to_image(picture), look.step, look.steps, known[index], index, look.seeds[index])

    @torch.no_grad()
    def describe(self, picture: Image.Image, *, seed: int = 0, sampling: Sampling = Sampling(temperature=0)) -> str:
        """A text for a picture of any size; by default the likeliest word each time."""
        if self.model.text is None:
            raise ValueError(f"{self.card.name} only draws: it has no words to say what a picture shows")
        size = self.read_size(self.card.sizes[0])
        layout = self.model.picture.tokenizer.layout(*size)
        pixels = self._taken(from_image(picture, size))[None].to(self.device)
        tokens = self.model.picture.tokenizer.encode(pixels, layout).shown
        return write(self.model, tokens, layout, sampling, Seeded([seed]))[0]

    def read_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of what the tokenizer takes, for a picture of this size."""
        scale = self.model.pixel_decoder.scale
        return size[0] // scale, size[1] // scale

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def phrase(self, prompt: str, style: str | None) -> str:
        """The prompt in the words that ask for a style. Raises ValueError for an unknown one."""
        if style is None:
            return prompt
        if not self.card.styles:
            raise ValueError(f"{self.card.name} has no styles: leave {style!r} out")
        if style not in self.card.styles:
            hint = did_you_mean(style, self.card.styles)
            raise ValueError(f"{self.card.name} has no style {style!r}{hint} (styles: {', '.join(self.card.styles)})")
        return self.card.styles[style].format(prompt)

    def wordings(self, prompt: str, style: str | None) -> list[str]:
        """What the model may say of a picture of the prompt: its style's phrase; without a style the phrase of any."""
        if style is not None:
            return [self.phrase(prompt, style)]
        return [prompt, *(self.phrase(prompt, known) for known in self.card.styles)]

    def _drawing(self, request: Request, layout: Layout) -> Drawing:
        """The drawing from nothing."""
        card, prompt = self.card, request.prompt
        steps, groups = ramped(request.steps, card.steps)
        prompt = self.phrase(prompt, request.style) if isinstance(prompt, str) else prompt
        condition = self.model.prompt.read([prompt] * request.n)
        views, weights = self._views(request, condition, layout)
        sampling = request.sampling or Sampling(card.temperature, card.top_k, card.top_p)
        return Drawing(layout, views, weights.to(self.device), sampling, steps=steps, groups=groups)

    def _views(
        self, request: Request, condition: Condition, layout: Layout
    ) -> tuple[list[Condition], Float[Tensor, "s v b"]]:
        """The condition and what guidance leads away from, and their weights at every step."""
        n, card = request.n, self.card
        steps, groups = ramped(request.steps, card.steps)
        order = grouped_as(self.model.picture.order, groups)
        schedule = order.schedule(layout, n, steps, Seeded([0] * n))  # of any seed: as long as all
        if request.steps not in (None, schedule.steps) and not isinstance(order, Gradual):
            raise ValueError(f"{card.name} draws this in {schedule.steps} steps: it cannot do so in {request.steps}")
        guidance = card.guidance if request.guidance is None else request.guidance
        if guidance == 1:
            return [condition], torch.ones(schedule.steps, 1, n)
        null = self.model.prompt.null(condition)
        if request.negative is not None:
            null = self.model.prompt.read([request.negative] * n)
        elif null is condition:
            raise ValueError(f"{card.name} draws without a prompt: guidance {guidance:g} has nothing to follow")
        weights = GuidanceConfig(card.course, card.first, card.last).weights(guidance, schedule)
        if isinstance(self.model.picture.head, Unguided):
            self.model.picture.head.refuse_guidance(weights)
        return [condition, null], weights

    def _edit(
        self, drawing: Drawing, request: Request, size: tuple[int, int]
    ) -> tuple[Drawing, Float[Tensor, "4 H W"] | None, Bool[Tensor, "1 H W"] | None]:
        """The drawing with what an edit leaves as it is, the picture's pixels, and where they may change."""
        if request.edit is None:
            return drawing, None, None
        picture, mask = request.edit.picture, request.edit.mask
        pixels = self._taken(from_image(picture, size)).to(self.device)[None]
        small = self._taken(from_image(picture, self.read_size(size))).to(self.device)[None]
        tokens = self.model.picture.tokenizer.encode(small, drawing.layout).shown
        fresh = from_image(mask, size)[3:].to(self.device) < 0
        given = kept_tokens(drawing.layout, ~fresh[0]).expand(request.n, -1)
        tokens = tokens.expand(request.n, *tokens.shape[1:])
        return replace(drawing, tokens=tokens, given=given), showable(pixels)[0], fresh

    def _taken(self, pixels: Float[Tensor, "4 H W"]) -> Float[Tensor, "c H W"]:
        """A picture as the tokenizer takes it: over white, if it knows no transparency."""
        return pixels if self.model.picture.tokenizer.channels == 4 else composite(pixels)

    def _checked(self, request: Request, partials: int | None) -> Request:
        """The request as the model's prompt reads it. Raises ValueError for what cannot be drawn."""
        card = self.card
        prompt = asked(card, request.prompt, self.classes)
        if not 1 <= request.n <= MOST:
            raise ValueError(f"n must be from 1 to {MOST}, got {request.n}")
        if request.style is not None:
            self.phrase("", request.style)
        if partials is not None and partials < 0:
            raise ValueError(f"partials must be 0 or more, got {partials}")
        steps, _ = ramped(request.steps, card.steps)
        if steps is not None and steps < 1:
            raise ValueError(f"steps must be 1 or more, got {steps}")
        if request.guidance is not None and not math.isfinite(request.guidance):
            raise ValueError(f"guidance must be a finite number (1 is off), got {request.guidance}")
        if request.size is not None and tuple(request.size) not in card.sizes:
            sizes = ", ".join(f"{w}x{h}" for h, w in card.sizes)
            height, width = request.size
            rows, columns = nearest((height, width), card.sizes)
            hint = f"; the nearest is {columns}x{rows}" if len(card.sizes) > 1 else ""
            raise ValueError(f"{card.name} cannot draw {width}x{height} pixels; it draws {sizes}{hint}")
        chosen = request.sampling
        if chosen and isinstance(self.model.picture.tokenizer.space, Vector) and (chosen.top_k or chosen.top_p < 1):
            raise ValueError(f"{card.name} draws vectors, which are not listed: top_k and top_p do not apply")
        self._check_candidates(request)
        negative = None if request.negative in (None, "") else asked(card, request.negative, self.classes)
        return replace(request, prompt=prompt, negative=negative)

    def _check_candidates(self, request: Request) -> None:
        if not 1 <= request.candidates <= MOST // request.n:
            raise ValueError(
                f"candidates must be from 1 to {MOST // request.n} for each of {request.n} pictures, "
                f"got {request.candidates}"
            )
        if request.candidates > 1:
            judged = self.judge is not None or self.model.text is not None
            if not judged or not isinstance(request.prompt, str):
                raise ValueError(f"{self.card.name} only draws: it cannot judge {request.candidates} candidates")
            if self.judge is None and self.model.text is not None:
                self.model.text.encode(self.wordings(request.prompt, request.style))  # over the limit? say so at once


def edited(settings: dict) -> dict:
    """Settings in which `picture` and `mask` have become an edit. Raises ValueError if one of them is missing."""
    picture, mask = settings.pop("picture", None), settings.pop("mask", None)
    if (picture is None) != (mask is None):
        raise ValueError("an edit needs both a picture and a mask: give the one that is missing")
    return settings if picture is None or mask is None else {**settings, "edit": Edit(picture, mask)}


def nearest(size: tuple[int, int], sizes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Of several sizes the one nearest in shape, then in area."""

    def apart(other: tuple[int, int]) -> tuple[float, float]:
        (a, b), (c, d) = (tuple(math.log(max(1, side)) for side in sides) for sides in (size, other))
        return abs(a - b - c + d), abs(a + b - c - d)

    return min(sizes, key=apart)


def ramped(asked: int | Ramps | None, usual: int | None) -> tuple[int | None, tuple[int, float] | None]:
    """The steps that are asked for, or the usual ones, and groups with their overlap, if any are asked for."""
    if not isinstance(asked, Ramps):
        return usual if asked is None else asked, None
    return usual if asked.steps is None else asked.steps, (asked.groups, asked.overlap)


def kept_tokens(layout: Layout, kept: Bool[Tensor, "H W"]) -> Bool[Tensor, "1 n"]:
    """The tokens of all grids in whose cell every pixel is kept, those that it only touches too."""
    changed = (~kept).float()[None, None]
    return torch.cat([adaptive_max_pool2d(changed, size).flatten(1) == 0 for size in layout.sizes], dim=1)
