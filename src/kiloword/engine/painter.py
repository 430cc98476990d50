"""Painter: prompts in, pictures out; the one object that the command line, the server and a notebook talk to.

The way of native image generation: text and picture tokens in one transformer (OpenAI 2025, addendum to the GPT-4o
system card), previews on the way, one seed a picture.
"""

import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from kiloword.engine.decode import stretch, write
from kiloword.engine.rerank import draw_best
from kiloword.heads.head import Sampling
from kiloword.model import Drawing, ImageModel, Progress
from kiloword.noise import Seeded
from kiloword.pixels import from_image, to_image
from kiloword.tokens import Layout

# Axes: b pictures, n tokens, H W pixels.

MOST = 64  # pictures drawn by one request


@dataclass(frozen=True)
class Card:
    """What a user has to know of a model: its sizes, its styles with the phrase of each, and its best settings.

    It is asked for pictures by a "text", a "class" (the number of one, or its name in the list called `classes`), or by
    "nothing". Guidance takes its `course` (see `guidance.py`) from step `first` to `last`; `steps` None: as many as the
    order has by itself.
    """

    name: str
    sizes: tuple[tuple[int, int], ...]
    styles: dict[str, str] = field(default_factory=dict)  # style: "a ... icon of {}"
    guidance: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    licence: str = ""
    about: str = ""
    prompts: str = "text"
    classes: str = ""
    top_k: int = 0
    course: str = "constant"
    first: int = 0
    last: int | None = None
    steps: int | None = None

    def __post_init__(self):
        object.__setattr__(self, "sizes", tuple((int(h), int(w)) for h, w in self.sizes))


@dataclass(frozen=True)
class Request:
    """What to draw. None stands for the model's own setting; a given seed makes a picture come out the same again.

    `picture` and `mask` edit: where the mask is transparent, `picture` is drawn anew from the prompt. Of so many
    `candidates` for each picture the one is kept from which the model best reads the prompt back.
    """

    prompt: str
    n: int = 1
    seed: int | None = None
    style: str | None = None
    size: tuple[int, int] | None = None  # rows, columns
    guidance: float | None = None
    sampling: Sampling | None = None
    negative: str | None = None
    picture: Image.Image | None = None
    mask: Image.Image | None = None
    candidates: int = 1


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
    """A model with its card, ready to draw."""

    def __init__(self, model: ImageModel, card: Card):
        self.model, self.card = model.eval(), card
        stretch(model)

    def generate(self, prompt: str, **settings) -> list[Image.Image]:
        """The pictures of a prompt. `settings` are the fields of `Request`."""
        return [preview.image for preview in self.stream(prompt, partials=0, **settings)]

    def stream(self, prompt: str, *, partials: int | None = 5, **settings) -> Iterator[Preview]:
        """`partials` previews of every picture, spread evenly over the drawing (None: one a step), then the picture.

        Close the iterator to cancel between two steps. With several candidates the previews are those of the picture
        that is kept, so they come when all have been drawn.
        """
        return self.run(replace(Request(prompt), **settings), partials)

    @torch.no_grad()
    def run(self, request: Request, partials: int | None = 0) -> Iterator[Preview]:
        """The same for a request that is already put together."""
        self._check(request, partials)
        seed = secrets.randbelow(2**31) if request.seed is None else request.seed
        seeds = [seed + index for index in range(request.n)]
        size = request.size or self.card.sizes[0]
        layout = self.model.picture.tokenizer.layout(*size)
        drawing, original, fresh = self._drawing(request, layout, size)
        texts = [self.wordings(request.prompt, request.style)] * request.n
        for progress, drawn_by in draw_best(self.model, drawing, seeds, texts, request.candidates):
            if progress.step not in shown_steps(progress.steps, partials):
                continue
            for index, pixels in enumerate(self._pixels(progress, layout, original, fresh)):
                known = progress.known[index].cpu()
                yield Preview(to_image(pixels), progress.step, progress.steps, known, index, drawn_by[index])

    @torch.no_grad()
    def describe(self, picture: Image.Image, *, seed: int = 0, sampling: Sampling = Sampling(temperature=0)) -> str:
        """A text for a picture of any size; by default the likeliest word each time."""
        height, width = self.card.sizes[0]
        layout = self.model.picture.tokenizer.layout(height, width)
        pixels = from_image(picture, (height, width))[None].to(self.device)
        tokens = self.model.picture.tokenizer.encode(pixels, layout).shown
        return write(self.model, tokens, layout, sampling, Seeded([seed]))[0]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def phrase(self, prompt: str, style: str | None) -> str:
        """The prompt in the words that ask for a style. Raises ValueError for an unknown one."""
        if style is None:
            return prompt
        if style not in self.card.styles:
            near = get_close_matches(style, self.card.styles, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{self.card.name} has no style {style!r}{hint} (styles: {', '.join(self.card.styles)})")
        return self.card.styles[style].format(prompt)

    def wordings(self, prompt: str, style: str | None) -> list[str]:
        """What the model may say of a picture of the prompt: its style's phrase; without a style the phrase of any."""
        if style is not None:
            return [self.phrase(prompt, style)]
        return [prompt, *(self.phrase(prompt, known) for known in self.card.styles)]

    def _drawing(
        self, request: Request, layout: Layout, size: tuple[int, int]
    ) -> tuple[Drawing, Float[Tensor, "4 H W"] | None, Bool[Tensor, "1 H W"] | None]:
        """The drawing, and for an edit the picture's pixels and where they may change."""
        n, card = request.n, self.card
        condition = self.model.prompt.read([self.phrase(request.prompt, request.style)] * n)
        guidance = card.guidance if request.guidance is None else request.guidance
        views, weights = [condition], torch.ones(1, n)
        if guidance != 1:
            null = self.model.prompt.null(condition)
            views.append(self.model.prompt.read([request.negative] * n) if request.negative else null)
            weights = torch.tensor([[guidance], [1 - guidance]]).expand(2, n)
        sampling = request.sampling or Sampling(card.temperature, top_p=card.top_p)
        drawing = Drawing(layout, views, weights.to(self.device), sampling)
        if request.picture is None or request.mask is None:
            return drawing, None, None
        original = from_image(request.picture, size).to(self.device)
        tokens = self.model.picture.tokenizer.encode(original[None], layout).shown
        fresh = from_image(request.mask, size)[3:].to(self.device) < 0
        given = kept_tokens(layout, ~fresh[0])
        drawing = replace(drawing, tokens=tokens.expand(n, *tokens.shape[1:]), given=given.expand(n, -1))
        return drawing, original, fresh

    def _pixels(self, progress: Progress, layout: Layout, original: Tensor | None, fresh: Tensor | None) -> Tensor:
        pixels = self.model.picture.tokenizer.decode(progress.tokens, layout, progress.known)
        return pixels if original is None or fresh is None else torch.where(fresh, pixels, original)

    def _check(self, request: Request, partials: int | None) -> None:
        if not request.prompt.strip():
            raise ValueError("the prompt is empty: say what to draw")
        if not 1 <= request.n <= MOST:
            raise ValueError(f"n must be from 1 to {MOST}, got {request.n}")
        if not 1 <= request.candidates <= MOST // request.n:
            raise ValueError(
                f"candidates must be from 1 to {MOST // request.n} for each of {request.n} pictures, "
                f"got {request.candidates}"
            )
        if request.candidates > 1:
            if self.model.text is None:
                raise ValueError(f"{self.card.name} only draws: it cannot judge {request.candidates} candidates")
            self.model.text.encode(self.wordings(request.prompt, request.style))  # over the limit? say so at once
        if partials is not None and partials < 0:
            raise ValueError(f"partials must be 0 or more, got {partials}")
        if request.guidance is not None and not math.isfinite(request.guidance):
            raise ValueError(f"guidance must be a finite number (1 is off), got {request.guidance}")
        if request.size is not None and tuple(request.size) not in self.card.sizes:
            sizes = ", ".join(f"{w}x{h}" for h, w in self.card.sizes)
            height, width = request.size
            raise ValueError(f"{self.card.name} cannot draw {width}x{height} pixels; it draws {sizes}")
        if (request.picture is None) != (request.mask is None):
            raise ValueError("an edit needs both a picture and a mask: give the one that is missing")


def kept_tokens(layout: Layout, kept: Bool[Tensor, "H W"]) -> Bool[Tensor, "1 n"]:
    """The tokens of all grids in whose cell every pixel is kept."""
    parts = []
    for h, w in layout.sizes:
        cells = kept.view(h, kept.shape[0] // h, w, kept.shape[1] // w)
        parts.append(cells.all(dim=3).all(dim=1).flatten())
    return torch.cat(parts)[None]


def shown_steps(steps: int, partials: int | None) -> set[int]:
    """The steps after which a picture is shown: `partials` of them spread evenly, and the last one."""
    if partials is None or partials >= steps:
        return set(range(1, steps + 1))
    return {math.ceil(steps * k / (partials + 1)) for k in range(1, partials + 1)} | {steps}
