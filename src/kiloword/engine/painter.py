"""Painter: prompts in, pictures out; the one object that the command line, the server and a notebook talk to.

The way of native image generation: text and picture tokens in one transformer (OpenAI 2025, addendum to the GPT-4o
system card), previews on the way, one seed a picture.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from kiloword.document import to_describe, to_draw
from kiloword.drawing import Drawing
from kiloword.engine.card import Card, Classes
from kiloword.engine.drive import write
from kiloword.engine.fitting import showable
from kiloword.engine.preview import previews
from kiloword.engine.request import Job, Request, edited, phrase, read_size, resolve, seeded, wordings_of
from kiloword.engine.rerank import Judge, draw_best
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.pixels import composite, from_image, to_image
from kiloword.tokens import Layout

# Axes: b pictures, n tokens, c channels, H W pixels.


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
    """A model with its card, ready to draw: it looks at the model and changes nothing in it.

    `classes` turns names of classes into numbers, for models that have any; of several candidates `judge` chooses, or
    the model itself. The model has to be in evaluation mode; on a CPU it draws faster after `optimise_for_cpu`, as
    `checkpoint.load` returns it.
    """

    def __init__(self, model: ImageModel, card: Card, classes: Classes | None = None, judge: Judge | None = None):
        self.model, self.card, self.classes, self.judge = model, card, classes, judge

    def generate(self, prompt: str | int | None = None, **settings) -> list[Image.Image]:
        """The pictures of a prompt, of a class, or of none. `settings` are the fields of `Request`, or, for an edit,
        `picture` and `mask`."""
        return [preview.image for preview in self.stream(prompt, partials=0, **settings)]

    def stream(self, prompt: str | int | None = None, *, partials: int | None = 5, **settings) -> Iterator[Preview]:
        """`partials` previews of every picture, spread evenly over the drawing (None: one a step), then the picture.

        Raises ValueError at once for what cannot be drawn. Close the iterator to cancel between two steps. With several
        candidates the previews are those of the picture that is kept, so they come when all have been drawn.
        """
        return self.run(self.resolve(replace(Request(prompt), **edited(settings)), partials))

    def resolve(self, request: Request, partials: int | None = 0) -> Job:
        """The job that a request asks for; a request without a seed gets one by chance. Raises ValueError for what
        cannot be drawn."""
        request = seeded(request, secrets.randbelow(2**31))
        return resolve(
            request, self.card, self.model, classes=self.classes, judged=self.judge is not None, partials=partials
        )

    def run(self, job: Job) -> Iterator[Preview]:
        """The previews and the pictures of a job. Raises ValueError at once if the model is still in training mode."""
        if self.model.training:
            raise ValueError(f"{self.card.name} is in training mode: call model.eval() before it draws")
        return self._run(job)

    @torch.no_grad()
    def _run(self, job: Job) -> Iterator[Preview]:
        drawing, original, fresh = self._edit(self._drawing(job), job)
        texts = [list(job.wordings)] * job.n
        drawn = draw_best(self.model, drawing, list(job.seeds), texts, job.candidates, self.judge)
        for look in previews(self.model, drawn, job.layout, job.effort, job.partials):
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
        return write(self.model, to_describe(tokens, layout), sampling, Seeded([seed]))[0]

    def read_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of pixels that the tokenizer takes, for a picture that is drawn at this size."""
        return read_size(self.model, size)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def phrase(self, prompt: str, style: str | None) -> str:
        """The prompt in the words that ask for a style. Raises ValueError for an unknown one."""
        return phrase(self.card, prompt, style)

    def wordings(self, prompt: str, style: str | None) -> list[str]:
        """What the model may say of a picture of the prompt: its style's phrase; without a style the phrase of any."""
        return wordings_of(self.card, prompt, style)

    def _drawing(self, job: Job) -> Drawing:
        """The drawing from nothing."""
        documents = to_draw([job.prompt] * job.n, job.layout)
        views = [self.model.opening(documents)]
        if job.guided and job.away is not None:
            views.append(self.model.opening(to_draw([job.away] * job.n, job.layout)))
        elif job.guided:
            views.append(self.model.opening(documents, null=True))
        weights = job.weights.to(self.device)
        return Drawing(job.layout, views, weights, job.sampling, steps=job.steps, groups=job.groups)

    def _edit(
        self, drawing: Drawing, job: Job
    ) -> tuple[Drawing, Float[Tensor, "4 H W"] | None, Bool[Tensor, "1 H W"] | None]:
        """The drawing with what an edit leaves as it is, the picture's pixels, and where they may change."""
        if job.edit is None:
            return drawing, None, None
        pixels = self._taken(from_image(job.edit.picture, job.size)).to(self.device)[None]
        small = self._taken(from_image(job.edit.picture, self.read_size(job.size))).to(self.device)[None]
        tokens = self.model.picture.tokenizer.encode(small, drawing.layout).shown
        fresh = from_image(job.edit.mask, job.size)[3:].to(self.device) < 0
        given = kept_tokens(drawing.layout, ~fresh[0]).expand(job.n, -1)
        tokens = tokens.expand(job.n, *tokens.shape[1:])
        return replace(drawing, tokens=tokens, given=given), showable(pixels)[0], fresh

    def _taken(self, pixels: Float[Tensor, "4 H W"]) -> Float[Tensor, "c H W"]:
        """A picture as the tokenizer takes it: over white, if it knows no transparency."""
        return pixels if self.model.picture.tokenizer.channels == 4 else composite(pixels)


def kept_tokens(layout: Layout, kept: Bool[Tensor, "H W"]) -> Bool[Tensor, "1 n"]:
    """The tokens of all grids in whose cell every pixel is kept, those that it only touches too."""
    changed = (~kept).float()[None, None]
    return torch.cat([adaptive_max_pool2d(changed, size).flatten(1) == 0 for size in layout.sizes], dim=1)
