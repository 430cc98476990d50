"""Segments: what a document is made of, texts and pictures one after the other, each given (read) or predicted.

One stream of text and pictures: Chameleon Team 2024; Zhou et al. 2024 (Transfusion). Every ability of a native image
model is a sequence of segments, the last of them predicted: text, picture (draw); picture, text (describe); picture,
text, picture (edit).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kiloword.tokens.layout import Layout

# Axes: n tokens of a picture.


@dataclass(frozen=True)
class Text:
    """A text. A given one may be whatever the model's prompt encodes: words, the number of a class, features of a
    foreign encoder, or None for the null prompt; one to `predict` is words."""

    words: Any
    predict: bool = False


@dataclass(frozen=True)
class Picture:
    """The tokens of one picture, [n] or [n, tail], in its layout; None where they are still to be drawn.

    `predict`: it is predicted, not given. Its own later tokens may then be fed `shown` instead of `tokens`: the same
    with some tokens corrupted (teacher forcing with errors). Later segments attend to `tokens`.
    """

    layout: Layout
    tokens: Tensor | None = None
    predict: bool = False
    shown: Tensor | None = None


@dataclass(frozen=True)
class Prompted:
    """A part of a document that the model's prompt encodes as a condition; `predict`: its tokens are predicted too."""

    prompt: Any
    predict: bool = False


Segment = Text | Picture
Document = Sequence[Segment]
