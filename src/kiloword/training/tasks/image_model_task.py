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
from kiloword.document import to_describe, to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.embedding import Loss
from kiloword.engine.drive import draw
from kiloword.evaluation.sheet import contact_sheet
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.tokens import Layout, Vector
from kiloword.training.augmentation import shuffled
from kiloword.training.corruption import corrupted

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

    def loss(self, rows: Tensor, done: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        config, chance = self.config, random.Random(int(torch.randint(2**31, ())))
        target, shown = self._pick_versions(rows)
        few = round(len(rows) * config.describe) if self.module.text is not None else 0
        if self.shown is None:
            space = self.module.picture.tokenizer.space
            shown = torch.cat([shown[:few], corrupted(shown[few:], space, config.corrupt)])
        described = to_describe(target[:few], self.layout, [self.captions.answer(row) for row in rows[:few].tolist()])
        asked = [None if chance.random() < config.null else self.captions.ask(r, chance) for r in rows[few:].tolist()]
        drawn = to_learn(asked, self.layout, target[few:], shown[few:], self.module.prompt.predicted)
        losses = self.module.loss([*drawn, *described], None, config.capacity, done)
        return self.total(losses)

    def total(self, losses: dict[str, Loss]) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the mean losses, and each of them: "draw" of a choice of picture tokens, "prompt" and
        "text" of a text token."""
        weights = {"picture": 1.0, "prompt": self.config.text_weight, "text": self.config.text_weight}
        means = {name: loss.mean() / (self.factors if name == "picture" else 1) for name, loss in losses.items()}
        figures = {"draw" if name == "picture" else name: mean.detach() for name, mean in means.items()}
        return torch.stack([weights[name] * mean for name, mean in means.items()]).sum(), figures

    @torch.no_grad()
    def hardness(self, report: Callable[[int, int], None] = lambda done, all: None) -> Float[Tensor, "n"]:
        """Loss a choice of every picture in its unvaried version, drawn from its answer; 0 where it has no weight."""
        self.module.eval()  # the loop lets it learn again
        found = torch.zeros(len(self.weights))
        for rows in self.weights.nonzero()[:, 0].split(128):
            truth, asked = self._numbers(self.tokens[0, rows]), [self.captions.answer(r) for r in rows.tolist()]
            losses = self.module.loss(to_learn(asked, self.layout, truth), Seeded(rows.tolist()))["picture"]
            found[rows] = (losses.of_documents(len(rows)) / self.factors).cpu()
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
        documents = to_learn(asked, self.layout, truth, predict_prompts=self.module.prompt.predicted)
        if self.module.text is not None and self.config.describe > 0:
            documents += to_describe(truth, self.layout, asked)
        _, figures = self.total(self.module.loss(documents, None, self.config.capacity))
        figures = {f"held_out_{name}": float(value) for name, value in figures.items()}
        trained = self.weights.nonzero()[:, 0]
        trained = trained[:: max(1, len(trained) // 24)][:24]
        chosen = torch.cat([trained, rows[:: max(1, len(rows) // 24)][:24]])
        self._draw(chosen).save(folder / f"look-{iteration:06d}.png")
        return figures

    def _draw(self, rows: Tensor):
        """Drawn pictures, as previews, beside the version of the true ones that their tokens give; the second half is
        held out."""
        model, preview = self.module, self.module.pixel_decoder.preview
        documents = to_draw([self.captions.answer(r) for r in rows.tolist()], self.layout)
        views, weights = [model.opening(documents)], torch.ones(1, 1)
        if self.config.null and model.picture.head.guidable:  # a null was learned, and can be summed
            views, weights = [*views, model.opening(documents, null=True)], torch.tensor([[2.0], [-1.0]])
        drawing = Drawing(self.layout, views, weights.expand(-1, len(rows)), Sampling(0.7))
        *_, last = draw(self.module, drawing, Seeded(list(range(len(rows)))))
        ours = preview(last.tokens, self.layout, last.known)
        theirs = preview(self._numbers(self.tokens[0, rows]), self.layout, last.known)
        return contact_sheet(torch.stack([ours, theirs], dim=1).flatten(0, 1), columns=16)
