"""Segments: what a document is made of, texts and pictures in a row, each given (read) or asked for (predicted).

One stream of text and pictures: Chameleon Team 2024; Zhou et al. 2024 (Transfusion). Every ability of a native image
model is a row of segments: text, picture asked for (draw); picture, text asked for (describe); picture, text, picture
asked for (edit).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kiloword.tokens.layout import Layout

# Axes: n tokens of a picture.


@dataclass(frozen=True)
class Text:
    """A text. A given one may be whatever the model's prompt reads: words, the number of a class, features of a foreign
    encoder, or None for the null prompt; one that is `asked` for (to be predicted) is words."""

    words: Any
    asked: bool = False


@dataclass(frozen=True)
class Picture:
    """The tokens of one picture, [n] or [n, tail], in its layout; None where they are still to be drawn.

    `asked`: it is to be predicted. Its own later tokens may then see `shown` in place of `tokens`: the same with some
    tokens corrupted (teacher forcing with errors). What comes after the picture sees `tokens`.
    """

    layout: Layout
    tokens: Tensor | None = None
    asked: bool = False
    shown: Tensor | None = None


@dataclass(frozen=True)
class Prompted:
    """A part of a document that the model's prompt turns into a condition; `asked` if its tokens are predicted too."""

    prompt: Any
    asked: bool = False


Segment = Text | Picture
Document = Sequence[Segment]
