"""Training an image model in both directions: prompt to picture, and picture to words.

Prompts are dropped now and then for guidance (Ho and Salimans 2022); some of the codes that the transformer is shown
are replaced by random ones, so that it relies on the prompt and tolerates its own errors (Bengio et al. 2015, scheduled
sampling, for the problem). Tokenizers that flip bits show such errors themselves, and their targets correct them
(Han et al. 2024, bitwise self-correction). When a model is trained further, pictures of high loss can be chosen more
often (Loshchilov and Hutter 2016, online batch selection, for choosing by loss).
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
    hard: float = 0.0  # power of a picture's loss before the training by which its weight is multiplied
    capacity: int = 64  # positions of a packed sequence


@dataclass(frozen=True)
class Captions:
    """The texts of the picture at an index: a random `prompt` for it, and its one `caption`."""

    prompt: Callable[[int, random.Random], str]
    caption: Callable[[int], str]


class ImageModelTask:
    """`tokens` [k, n, t, ...], in memory or a `TokenCache`, are small integers or vectors: version 0 of every
    picture is the unvaried one.

    `shown` are the tokens that later ones attend to (None: the same). A model without text output is trained to draw
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

    def loss(self, indices: Tensor, done: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        config, chance = self.config, random.Random(int(torch.randint(2**31, ())))
        target, shown = self._pick_versions(indices)
        few = round(len(indices) * config.describe) if self.module.text is not None else 0
        if self.shown is None:
            space = self.module.picture.tokenizer.space
            shown = torch.cat([shown[:few], corrupted(shown[few:], space, config.corrupt)])
        described = to_describe(target[:few], self.layout, [self.captions.caption(i) for i in indices[:few].tolist()])
        prompts = [
            None if chance.random() < config.null else self.captions.prompt(i, chance) for i in indices[few:].tolist()
        ]
        drawn = to_learn(prompts, self.layout, target[few:], shown[few:], self.module.prompt.predicted)
        losses = self.module.loss([*drawn, *described], None, config.capacity, done)
        return self.total(losses)

    def total(self, losses: dict[str, Loss]) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the mean losses, and each of them: "draw" of a code of picture tokens, "prompt" and
        "text" of a text token."""
        weights = {"picture": 1.0, "prompt": self.config.text_weight, "text": self.config.text_weight}
        means = {name: loss.mean() / (self.factors if name == "picture" else 1) for name, loss in losses.items()}
        figures = {"draw" if name == "picture" else name: mean.detach() for name, mean in means.items()}
        return torch.stack([weights[name] * mean for name, mean in means.items()]).sum(), figures

    @torch.no_grad()
    def hardness(self, report: Callable[[int, int], None] = lambda done, all: None) -> Float[Tensor, "n"]:
        """Loss a code of every picture in its unvaried version, given its caption; 0 where its weight is 0."""
        self.module.eval()  # the loop switches back to training mode
        found = torch.zeros(len(self.weights))
        for indices in self.weights.nonzero()[:, 0].split(128):
            truth, texts = self._numbers(self.tokens[0, indices]), [self.captions.caption(i) for i in indices.tolist()]
            losses = self.module.loss(to_learn(texts, self.layout, truth), Seeded(indices.tolist()))["picture"]
            found[indices] = (losses.of_documents(len(indices)) / self.factors).cpu()
            report(int(indices[-1]) + 1, len(self.weights))
        return found

    def _pick_versions(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """A random version of each picture: its targets, and the tokens that are shown."""
        version = torch.randint(1, max(2, len(self.tokens)), indices.shape)
        version = torch.where(torch.rand(indices.shape) < self.config.clean, 0, version).clamp(max=len(self.tokens) - 1)
        shown = self.tokens if self.shown is None else self.shown
        return self._numbers(self.tokens[version, indices]), self._numbers(shown[version, indices])

    @property
    def factors(self) -> int:
        """The number of codes in a token."""
        space = self.module.picture.tokenizer.space
        return 1 if isinstance(space, Vector) else max(1, math.prod(space.tail))

    def _numbers(self, tokens: Tensor) -> Tensor:
        """Stored tokens in the model's number format, on its device."""
        tokens = tokens.float() if tokens.is_floating_point() else tokens.long()
        return tokens.to(next(self.module.parameters()).device)

    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        indices = self.held_out[:: max(1, len(self.held_out) // 256)][:256]
        truth, texts = self._numbers(self.tokens[0, indices]), [self.captions.caption(i) for i in indices.tolist()]
        documents = to_learn(texts, self.layout, truth, predict_prompts=self.module.prompt.predicted)
        if self.module.text is not None and self.config.describe > 0:
            documents += to_describe(truth, self.layout, texts)
        _, figures = self.total(self.module.loss(documents, None, self.config.capacity))
        figures = {f"held_out_{name}": float(value) for name, value in figures.items()}
        trained = self.weights.nonzero()[:, 0]
        trained = trained[:: max(1, len(trained) // 24)][:24]
        chosen = torch.cat([trained, indices[:: max(1, len(indices) // 24)][:24]])
        self._draw(chosen).save(folder / f"look-{iteration:06d}.png")
        return figures

    def _draw(self, indices: Tensor):
        """Drawn pictures, as previews, beside the version of the true ones that their tokens give; the second half is
        held out."""
        model, preview = self.module, self.module.pixel_decoder.preview
        documents = to_draw([self.captions.caption(i) for i in indices.tolist()], self.layout)
        views, weights = [model.opening(documents)], torch.ones(1, 1)
        if self.config.null and model.picture.head.guidable:  # an empty prompt was trained, and outputs can be summed
            views, weights = [*views, model.opening(documents, null=True)], torch.tensor([[2.0], [-1.0]])
        drawing = Drawing(self.layout, views, weights.expand(-1, len(indices)), Sampling(0.7))
        *_, last = draw(self.module, drawing, Seeded(list(range(len(indices)))))
        drawn = preview(last.tokens, self.layout, last.known)
        true = preview(self._numbers(self.tokens[0, indices]), self.layout, last.known)
        return contact_sheet(torch.stack([drawn, true], dim=1).flatten(0, 1), columns=16)
