"""The law of prompts: from texts, classes or features to what conditions the transformer.

The null condition is for classifier-free guidance (Ho and Salimans 2022).
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kiloword.tokens import Document, Fed, Layout, Picture, Prompted, Segment, Text
from kiloword.transformer import Context

# Axes: b pictures, m positions of the condition, w width.


@dataclass(frozen=True)
class Condition:
    """What conditions b pictures: a `prefix` of positions before the picture (padding last), and vectors.

    Attention within the prefix is full, or `causal`; `placed` False: its y and x are NaN. `start` is added to the
    picture's positions that are fed nothing; `vector` modulates the blocks (adaLN), which cross-attend to `context`.
    """

    prefix: Float[Tensor, "b m w"]
    present: Bool[Tensor, "b m"]
    vector: Float[Tensor, "b w"] | None = None
    start: Float[Tensor, "b w"] | None = None
    causal: bool = False
    placed: bool = True
    context: Context | None = None


class Prompt:
    """Embeds a batch of prompts; None is the null prompt. Values and bodies are defaults.

    `required`: a picture needs a condition, since its first token, its modulation or its context depends on it.
    `predicted`: the model can be trained to predict its prompts too: `target` is what a prefix's positions predict.
    `modulates`: its conditions have a vector that modulates the blocks.
    `context_positions`: how many positions of context a condition has at most; 0 if it has none.
    """

    width: int
    required: bool = False
    predicted: bool = False
    modulates: bool = False
    context_positions: int = 0

    def read(self, prompts: list) -> Condition:
        """The condition of each prompt. Raises ValueError for a prompt of the wrong kind."""
        raise NotImplementedError

    def null(self, condition: Condition) -> Condition:
        """The null condition of the same size as this one, for classifier-free guidance."""
        raise NotImplementedError

    def check(self, prompt: Any) -> None:
        """Raise ValueError for what is no prompt, or is too long, as far as that can be said without reading it."""

    def target(self, prompts: list) -> Int[Tensor, "b m"]:
        """The token that each position of a condition's prefix predicts."""
        raise ValueError("these prompts are read, not predicted")

    def script(self, document: Document) -> list[Segment | Prompted]:
        """The document with `Prompted` segments in place of given texts, and of predicted ones before a picture."""
        script: list[Segment | Prompted] = []
        for segment, after in zip(document, [*document[1:], None], strict=True):
            if isinstance(segment, Text) and self.reads(segment, after):
                script.append(Prompted(segment.words, segment.predict))
            else:
                script.append(segment)
        return script

    def reads(self, text: Text, after: Segment | None) -> bool:
        """Whether this prompt embeds a text: it is given, or it is predicted and a picture is generated from it."""
        return not text.predict or (self.predicted and isinstance(after, Picture) and after.predict)


@runtime_checkable
class TextEmbedder(Protocol):
    """What embeds text tokens: the head of the model's own text."""

    @property
    def width(self) -> int: ...

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b m w"], Any]: ...


def class_ids(prompts: list, classes: int) -> Int[Tensor, "b"]:
    """Class indices; None becomes `classes`, the null class. Raises ValueError for anything else."""
    for prompt in prompts:
        if prompt is not None and not (isinstance(prompt, int) and 0 <= prompt < classes):
            raise ValueError(f"class {prompt!r} is not a whole number from 0 to {classes - 1}")
    return torch.tensor([classes if prompt is None else prompt for prompt in prompts], dtype=torch.long)
