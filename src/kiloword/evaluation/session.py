"""Drawing and rebuilding many pictures in batches: what all other figures are taken from.

One seed a picture, so that it comes out the same whatever else is in its batch (see `engine/`).
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from kiloword.document import to_describe, to_draw
from kiloword.drawing import Drawing
from kiloword.engine.drive import write
from kiloword.engine.painter import Painter
from kiloword.engine.preview import previews
from kiloword.engine.rerank import draw_best
from kiloword.evaluation.image_set import Progress, to_bytes
from kiloword.heads.head import Sampling
from kiloword.noise import Seeded
from kiloword.pixels import from_bytes
from kiloword.tokens import Layout

# Axes: p pictures, H W pixels, v views.


@dataclass(frozen=True)
class Session:
    """A painter at work on many pictures, `batch` at a time; `progress` is called with (stage, done, in all).

    Each drawn picture is the best of `candidates` (see `engine/rerank.py`).
    """

    painter: Painter
    batch: int = 50
    progress: Progress | None = None
    candidates: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the tokenizer encodes: all figures are of pictures at this size."""
        return self.painter.read_size(self.painter.card.sizes[0])

    @property
    def layout(self) -> Layout:
        return self.painter.model.picture.tokenizer.layout(*self.size)

    def chunks(self, what: str, count: int, each: int = 1) -> Iterator[slice]:
        """Slices of at most a batch, where a picture counts as `each`; `progress` is called after each slice."""
        size = max(1, self.batch // each)
        for start in range(0, count, size):
            stop = min(start + size, count)
            yield slice(start, stop)
            if self.progress:
                self.progress(what, stop, count)

    def drawn(
        self, prompts: Sequence[str], seeds: Sequence[int], what: str = "pictures drawn"
    ) -> tuple[UInt8[Tensor, "p 4 H W"], float]:
        """A picture for each prompt with the card's settings, and the seconds that drawing took."""
        pictures, seconds = [], 0.0
        for part in self.chunks(what, len(prompts), self.candidates):
            start = time.perf_counter()
            with torch.no_grad():
                drawing, texts = self.request(list(prompts[part])), [[prompt] for prompt in prompts[part]]
                steps = draw_best(self.painter.model, drawing, list(seeds[part]), texts, self.candidates)
                last = deque(previews(self.painter.model, steps, self.layout, None, 0), maxlen=1).pop()
                pictures.append(to_bytes(interpolate(last.pixels, size=self.size, mode="area")))
            seconds += time.perf_counter() - start
        return _joined(pictures, self.size), seconds

    def request(self, prompts: list[str]) -> Drawing:
        """The drawing of one picture for each prompt, as `Painter` builds it."""
        card, model = self.painter.card, self.painter.model
        documents = to_draw(prompts, self.layout)
        views, weights = [model.opening(documents)], torch.ones(1, len(prompts))
        if card.guidance != 1:
            views.append(model.opening(documents, null=True))
            weights = torch.tensor([[card.guidance], [1 - card.guidance]]).expand(2, len(prompts))
        sampling = Sampling(card.temperature, top_p=card.top_p)
        return Drawing(self.layout, views, weights.to(self.painter.device), sampling)

    def tokens(self, pixels: UInt8[Tensor, "p 4 H W"]) -> Any:
        """The tokens of one batch of pictures: `target` and `shown`."""
        return self.painter.model.picture.tokenizer.encode(from_bytes(pixels).to(self.painter.device), self.layout)

    def rebuilt(self, pixels: UInt8[Tensor, "p 4 H W"], what: str = "pictures rebuilt") -> UInt8[Tensor, "p 4 H W"]:
        """The tokenizer's reconstruction of each picture."""
        pictures = []
        tokenizer = self.painter.model.picture.tokenizer
        for part in self.chunks(what, len(pixels)):
            with torch.no_grad():
                target = self.tokens(pixels[part]).target
                known = torch.ones(target.shape[:2], dtype=torch.bool, device=target.device)
                pictures.append(to_bytes(tokenizer.decode(target, self.layout, known)))
        return _joined(pictures, self.size)

    def described(self, pixels: UInt8[Tensor, "p 4 H W"], what: str = "pictures described") -> list[str]:
        """The likeliest description of each picture, word by word."""
        texts = []
        for part in self.chunks(what, len(pixels)):
            with torch.no_grad():
                shown = self.tokens(pixels[part]).shown
                noise = Seeded([0] * len(shown))
                texts += write(self.painter.model, to_describe(shown, self.layout), Sampling(temperature=0), noise)
        return texts


def _joined(pictures: list[Tensor], size: tuple[int, int]) -> UInt8[Tensor, "p 4 H W"]:
    return torch.cat(pictures) if pictures else torch.zeros(0, 4, *size, dtype=torch.uint8)
