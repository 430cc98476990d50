"""Teaching an image model in both directions: prompt to picture, and picture to words.

Prompts are dropped now and then for guidance (Ho and Salimans 2022); some of the codes that the transformer is shown
are replaced by random ones, so that it leans on the prompt and forgives its own mistakes (Bengio et al. 2015, scheduled
sampling, for the problem). Tokenizers that flip bits show such mistakes themselves, and their targets make up for them
(Han et al. 2024, bitwise self-correction). In a model that is taught on, what it knows can stand back for what it does
not (Loshchilov and Hutter 2016, online batch selection, for choosing by loss).
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.data.array import ReadOnlyArray
from kiloword.engine.decode import draw
from kiloword.evaluation.sheet import contact_sheet
from kiloword.heads.head import Sampling, Unguided
from kiloword.model import Drawing, ImageModel
from kiloword.noise import Seeded
from kiloword.tokens import Layout, Vector
from kiloword.training.corruption import corrupted
from kiloword.training.pictures import shuffled

# Axes: n pictures, k versions of each, t tokens, f factors.


@dataclass(frozen=True)
class ImageModelTaskConfig:
    """Shares of a batch and of its tokens."""

    describe: float = 0.2  # share of the batch that goes from picture to words
    null: float = 0.1  # share of prompts dropped
    corrupt: float = 0.1  # share of shown codes that are random ones
    text_weight: float = 0.2  # weight of a text token's loss beside a code's
    clean: float = 0.3  # share of pictures in their unvaried version
    hard: float = 0.0  # power with which a picture's loss before the training counts in how often it is chosen
    capacity: int = 64  # rows of a packed stream


@dataclass(frozen=True)
class Captions:
    """What is said of picture `row`: one of the ways to ask for it, and the one answer."""

    ask: Callable[[int, random.Random], str]
    answer: Callable[[int], str]


class ImageModelTask:
    """`tokens` [k, n, t, ...], in memory or a `TokenCache`, are small integers or vectors: version 0 of every
    picture is the unvaried one.

    `shown` are the same as later tokens see them (None: as they are). A model without text of its own learns to draw
    only.
    """

    def __init__(
        self, module: ImageModel, layout: Layout, tokens: ReadOnlyArray, captions: Captions,
        weights: Float[Tensor, "n"], held_out: Int[Tensor, "m"], config: ImageModelTaskConfig = ImageModelTaskConfig(),
        shown: ReadOnlyArray | None = None,
    ):  # fmt: skip
        self.module, self.layout, self.tokens, self.captions = module, layout, tokens, captions
        self.weights, self.held_out, self.config, self.shown = weights, held_out, config, shown
        for name, parameter in module.named_parameters():
            if name.startswith(("picture.tokenizer.", "decoder.")):
                parameter.requires_grad_(False)

    def choose(self, iteration: int, count: int) -> Tensor:
        return shuffled(self.weights, iteration, count, seed=2)

    def loss(self, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        chance = random.Random(int(torch.randint(2**31, ())))
        target, seen = self._pick_versions(rows)
        few = round(len(rows) * config.describe) if self.module.text is not None else 0
        asked = [None if chance.random() < config.null else self.captions.ask(r, chance) for r in rows[few:].tolist()]
        told = [self.captions.answer(r) for r in rows[:few].tolist()]
        shown = seen[few:]
        if self.shown is None:
            shown = corrupted(shown, self.module.picture.tokenizer.space, config.corrupt)
        drawn, said = self.module.loss(
            asked, target[few:], shown, self.layout, None,
            told or None, target[:few] if few else None, config.capacity,
        )  # fmt: skip
        mean = drawn.sum() / (drawn != 0).sum().clamp(min=1) / self.factors  # of the tokens that were asked for
        figures, loss = {"draw": mean.detach()}, mean
        if said is not None:
            text = said.sum() / (said != 0).sum().clamp(min=1)
            figures["text"] = text.detach()
            loss = loss + config.text_weight * text
        return loss, figures

    @torch.no_grad()
    def hardness(self, report: Callable[[int, int], None] = lambda done, all: None) -> Float[Tensor, "n"]:
        """Loss a choice of every picture in its unvaried version, drawn from its answer; 0 where it has no weight."""
        self.module.eval()  # the loop lets it learn again
        found = torch.zeros(len(self.weights))
        for rows in self.weights.nonzero()[:, 0].split(128):
            truth, asked = self._numbers(self.tokens[0, rows]), [self.captions.answer(r) for r in rows.tolist()]
            drawn, _ = self.module.loss(asked, truth, truth, self.layout, Seeded(rows.tolist()))
            drawn = drawn.flatten(1)
            found[rows] = (drawn.sum(1) / (drawn != 0).sum(1).clamp(min=1) / self.factors).cpu()
            report(int(rows[-1]) + 1, len(self.weights))
        return found

    def _pick_versions(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """One version of each picture: as it is to be predicted, and as it is shown."""
        version = torch.randint(1, max(2, len(self.tokens)), rows.shape)
        version = torch.where(torch.rand(rows.shape) < self.config.clean, 0, version).clamp(max=len(self.tokens) - 1)
        shown = self.tokens if self.shown is None else self.shown
        return self._numbers(self.tokens[version, rows]), self._numbers(shown[version, rows])

    @property
    def factors(self) -> int:
        """How many choices a token is made of."""
        space = self.module.picture.tokenizer.space
        return 1 if isinstance(space, Vector) else max(1, math.prod(space.tail))

    def _numbers(self, tokens: Tensor) -> Tensor:
        """Stored tokens as the model takes them."""
        tokens = tokens.float() if tokens.is_floating_point() else tokens.long()
        return tokens.to(next(self.module.parameters()).device)

    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        rows = self.held_out[:: max(1, len(self.held_out) // 256)][:256]
        truth, asked = self._numbers(self.tokens[0, rows]), [self.captions.answer(r) for r in rows.tolist()]
        reads = self.module.text is not None and self.config.describe > 0
        seen = (asked, truth) if reads else (None, None)
        drawn, said = self.module.loss(asked, truth, truth, self.layout, None, *seen, self.config.capacity)
        figures = {"held_out_draw": float(drawn.sum() / (drawn != 0).sum().clamp(min=1)) / self.factors}
        if said is not None:
            figures["held_out_text"] = float(said.sum() / (said != 0).sum())
        trained = self.weights.nonzero()[:, 0]
        trained = trained[:: max(1, len(trained) // 24)][:24]
        chosen = torch.cat([trained, rows[:: max(1, len(rows) // 24)][:24]])
        self._draw(chosen).save(folder / f"look-{iteration:06d}.png")
        return figures

    def _draw(self, rows: Tensor):
        """Drawn pictures, as previews, beside the version of the true ones that their tokens give; the second half is
        held out."""
        prompt, preview = self.module.prompt, self.module.pixel_decoder.preview
        condition = prompt.read([self.captions.answer(r) for r in rows.tolist()])
        views, weights = [condition, prompt.null(condition)], torch.tensor([[2.0], [-1.0]])
        if not self.config.null or isinstance(self.module.picture.head, Unguided):  # no null was learned, or is summed
            views, weights = [condition], torch.ones(1, 1)
        drawing = Drawing(self.layout, views, weights.expand(-1, len(rows)), Sampling(0.7))
        *_, last = draw(self.module, drawing, Seeded(list(range(len(rows)))))
        ours = preview(last.tokens, self.layout, last.known)
        theirs = preview(self._numbers(self.tokens[0, rows]), self.layout, last.known)
        return contact_sheet(torch.stack([ours, theirs], dim=1).flatten(0, 1), columns=16)
