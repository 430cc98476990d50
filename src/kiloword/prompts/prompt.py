"""The law of prompts: from what the user says to what the transformer is given.

The null condition is for classifier-free guidance (Ho and Salimans 2022).
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kiloword.tokens import Document, Fed, Layout, Picture, Prompted, Segment, Text
from kiloword.transformer import Context

# Axes: b pictures, m rows of the condition, w width.


@dataclass(frozen=True)
class Condition:
    """Rows that stand before the picture (present ones first), and vectors that are not rows.

    The rows see each other, unless they are `causal`; where they are not `placed` they sit nowhere. `start` is added
    to the picture's rows that are fed nothing; `vector` modulates the blocks, which attend to the `context`.
    """

    prefix: Float[Tensor, "b m w"]
    present: Bool[Tensor, "b m"]
    vector: Float[Tensor, "b w"] | None = None
    start: Float[Tensor, "b w"] | None = None
    causal: bool = False
    placed: bool = True
    context: Context | None = None


class Prompt:
    """Reads a batch of prompts; None stands for no prompt at all. What has a value or a body here is a default.

    `required`: a picture is drawn behind a condition only, since its first token, its modulation or its context is made
    of it.
    `predicted`: the model may learn to say its prompts itself: `target` is what the positions of a prefix predict.
    `modulates`: its conditions have a vector that modulates the blocks.
    `context_positions`: how many positions of context a condition has at most; 0 if it has none.
    """

    width: int
    required: bool = False
    predicted: bool = False
    modulates: bool = False
    context_positions: int = 0

    def read(self, prompts: list) -> Condition:
        """The condition of each prompt. Raises ValueError for what is none."""
        raise NotImplementedError

    def null(self, condition: Condition) -> Condition:
        """The condition that stands for no prompt beside this one, for classifier-free guidance."""
        raise NotImplementedError

    def check(self, prompt: Any) -> None:
        """Raise ValueError for what is no prompt, or is too long, as far as that can be said without reading it."""

    def target(self, prompts: list) -> Int[Tensor, "b m"]:
        """The token that each position of a condition's prefix predicts."""
        raise ValueError("these prompts are read, not predicted")

    def script(self, document: Document) -> list[Segment | Prompted]:
        """A document with what the prompt reads in place of given texts, and of predicted ones before a picture."""
        script: list[Segment | Prompted] = []
        for segment, after in zip(document, [*document[1:], None], strict=True):
            if isinstance(segment, Text) and self.reads(segment, after):
                script.append(Prompted(segment.words, segment.asked))
            else:
                script.append(segment)
        return script

    def reads(self, text: Text, after: Segment | None) -> bool:
        """Whether a text is the prompt's business: it is given, or it is predicted and a picture is drawn from it."""
        return not text.asked or (self.predicted and isinstance(after, Picture) and after.asked)


@runtime_checkable
class TextEmbedder(Protocol):
    """What turns text tokens into vectors: the head of the model's own text."""

    @property
    def width(self) -> int: ...

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b m w"], Any]: ...


def class_ids(prompts: list, classes: int) -> Int[Tensor, "b"]:
    """The numbers of classes; None becomes `classes`, the one behind the last. Raises ValueError for anything else."""
    for prompt in prompts:
        if prompt is not None and not (isinstance(prompt, int) and 0 <= prompt < classes):
            raise ValueError(f"class {prompt!r} is not a whole number from 0 to {classes - 1}")
    return torch.tensor([classes if prompt is None else prompt for prompt in prompts], dtype=torch.long)
