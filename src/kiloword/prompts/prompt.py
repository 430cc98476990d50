"""The law of prompts: from what the user says to what the transformer is given.

The null condition is for classifier-free guidance (Ho and Salimans 2022).
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kiloword.tokens import Fed, Layout
from kiloword.transformer import Context, stacked

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


@runtime_checkable
class Prompt(Protocol):
    """Reads a batch of prompts; None stands for no prompt at all."""

    @property
    def width(self) -> int: ...

    def read(self, prompts: list) -> Condition: ...

    def null(self, condition: Condition) -> Condition: ...


@runtime_checkable
class Predicted(Protocol):
    """Prompts that the model learns to say itself: which token each row of their condition is to predict."""

    def target(self, prompts: list) -> Int[Tensor, "b m"]: ...


@runtime_checkable
class Framing(Protocol):
    """Prompts that stand round a picture which is looked at: the conditions before it and behind it, of so many
    pictures. What is said of it starts with the second one's `start`."""

    def frame(self, count: int) -> tuple[Condition, Condition]: ...


@runtime_checkable
class Contextual(Protocol):
    """Prompts whose conditions have a context, of at most so many rows, for transformers that attend to one."""

    context_rows: int


@runtime_checkable
class TextEmbedder(Protocol):
    """What turns text tokens into rows: the head of the model's own text."""

    @property
    def width(self) -> int: ...

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b m w"], Any]: ...


def join(views: list[Condition]) -> Condition:
    """All views as rows of one batch; shorter ones are filled up with absent rows."""
    longest = max(view.prefix.shape[1] for view in views)
    padded = []
    for view in views:
        b, m, w = view.prefix.shape
        padded.append(replace(
            view,
            prefix=torch.cat([view.prefix, view.prefix.new_zeros(b, longest - m, w)], dim=1),
            present=torch.cat([view.present, view.present.new_zeros(b, longest - m)], dim=1),
        ))  # fmt: skip

    def together(name: str) -> Tensor | None:
        vectors = [getattr(view, name) for view in padded]
        return None if vectors[0] is None else torch.cat(vectors)

    context = stacked([view.context for view in views], [len(view.prefix) for view in views])
    joined = {name: together(name) for name in ("prefix", "present", "vector", "start")}
    return replace(padded[0], **joined, context=context)


def class_ids(prompts: list, classes: int) -> Int[Tensor, "b"]:
    """The numbers of classes; None becomes `classes`, the one behind the last. Raises ValueError for anything else."""
    for prompt in prompts:
        if prompt is not None and not (isinstance(prompt, int) and 0 <= prompt < classes):
            raise ValueError(f"class {prompt!r} is not a whole number from 0 to {classes - 1}")
    return torch.tensor([classes if prompt is None else prompt for prompt in prompts], dtype=torch.long)
