"""Likelihood: bits that the model needs to write down a picture's tokens, or a description's.

Cross-entropy in bits (Shannon 1948). Far fewer bits on training pictures than on held-out ones is overfitting; what a
prompt saves is how much of it the model has understood.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kiloword.document import to_describe, to_learn
from kiloword.evaluation.session import Session

# Axes: p pictures, H W pixels.


def picture_bits(
    session: Session, pixels: UInt8[Tensor, "p 4 H W"], prompts: Sequence[str | None], what: str = "pictures measured"
) -> Float[Tensor, "p"]:
    """Bits of the tokens of each picture, drafts included, given its prompt (None: no prompt); without guidance."""
    found = []
    for part in session.chunks(what, len(pixels)):
        with torch.no_grad():
            tokens = session.tokens(pixels[part])
            documents = to_learn(list(prompts[part]), session.layout, tokens.target, tokens.shown)
            losses = session.painter.model.loss(documents)["picture"]
        found.append(losses.masked().float().sum(1).cpu())
    return _bits(found)


def text_bits(
    session: Session, pixels: UInt8[Tensor, "p 4 H W"], texts: Sequence[str], what: str = "texts measured"
) -> Float[Tensor, "p"]:
    """Bits of each text, its end included, given its picture."""
    found = []
    for part in session.chunks(what, len(pixels)):
        with torch.no_grad():
            tokens = session.tokens(pixels[part])
            documents = to_describe(tokens.shown, session.layout, list(texts[part]))
            losses = session.painter.model.loss(documents)["text"]
        found.append(losses.masked().float().sum(1).cpu())
    return _bits(found)


def likelihood(
    session: Session, pixels: dict[str, UInt8[Tensor, "p 4 H W"]], prompts: dict[str, list[str]]
) -> dict[str, Any]:
    """Mean bits of each split's pictures with their prompt, without one, and of their prompts as descriptions."""
    figures: dict[str, Any] = {split: _mean(picture_bits(session, pixels[split], prompts[split])) for split in pixels}
    nothing = {split: [None] * len(prompts[split]) for split in pixels}
    figures["without_prompt"] = {split: _mean(picture_bits(session, pixels[split], nothing[split])) for split in pixels}
    if session.painter.model.text is not None:
        figures["description"] = {split: _mean(text_bits(session, pixels[split], prompts[split])) for split in pixels}
    return figures


def _bits(nats: list[Tensor]) -> Float[Tensor, "p"]:
    return torch.cat(nats) / math.log(2) if nats else torch.zeros(0)


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None
