"""Stream: the rows that a transformer works on, as data only, and the law of who attends to whom.

Causal attention (Vaswani et al. 2017), bidirectional prefixes and block-causal spans (Zhou et al. 2024, Transfusion)
are one rule over the span and step of each row.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from kiloword.transformer.cache import Cache
from kiloword.transformer.cross_attention import Context
from kiloword.transformer.hidden_guidance import HiddenGuidance

# Axes: b rows of the batch, t places in a row, a of them that are asked for, n = a or t, w width.


@dataclass(frozen=True)
class Stream:
    """Vectors and what is known of each: place, sample, span, step, causality and whether it is there at all.

    `span` None says that every row sees every other one, as in a ViT: the other fields are then not looked at. A row
    that sits nowhere has NaN for its y and x: only `Muted` positions take that. Rows that are not `filled` are fed
    nothing: the encoder of an `EncoderDecoder` leaves them out. The `context` is attended to by stacks that can;
    `hidden_guidance` sums the views of a picture up inside the stack. Hidden vectors come of the rows that are `asked`
    for, in that order: the last block needs no others.
    """

    vectors: Float[Tensor, "b t w"]
    positions: Float[Tensor, "b t 4"]  # time, scale, y, x
    sample: Int[Tensor, "b t"] | None = None  # None: one sample a batch row
    span: Int[Tensor, "b t"] | None = None
    step: Int[Tensor, "b t"] | None = None
    causal: Bool[Tensor, "b t"] | None = None
    present: Bool[Tensor, "b t"] | None = None  # None: all of them
    modulation: Float[Tensor, "b #t w"] | None = None
    filled: Bool[Tensor, "b t"] | None = None  # None: all of them
    context: Context | None = None
    hidden_guidance: HiddenGuidance | None = None
    asked: Int[Tensor, "b a"] | None = None  # None: all of them


@runtime_checkable
class Transformer(Protocol):
    """Rows in, hidden vectors of those asked for out; `causal` says that it can keep rows from seeing later ones."""

    causal: bool

    @property
    def width(self) -> int: ...

    def __call__(self, stream: Stream, cache: Cache | None = None) -> Float[Tensor, "b a w"]: ...

    def cache(self, rows: int, capacity: int) -> Cache: ...


def at(rows: Shaped[Tensor, "b t ..."], asked: Int[Tensor, "b a"] | None) -> Shaped[Tensor, "b n ..."]:
    """Those rows, in their order; all if none are named."""
    return rows if asked is None else rows[torch.arange(len(asked), device=asked.device)[:, None], asked]


def visible(stream: Stream) -> Bool[Tensor, "b t t"] | None:
    """Whether row i (second axis) attends to row j (third): None where all attend to all.

    It does if both belong to one sample and j is present and j's span is earlier, or it is the same span and either
    j's step is no later than i's or the span is not causal. Every row attends to itself.
    """
    if stream.span is None:
        return None
    assert stream.step is not None and stream.causal is not None
    span_i, span_j = stream.span[:, :, None], stream.span[:, None, :]
    together = (stream.step[:, None, :] <= stream.step[:, :, None]) | ~stream.causal[:, :, None]
    seen = (span_j < span_i) | ((span_j == span_i) & together)
    if stream.sample is not None:
        seen &= stream.sample[:, :, None] == stream.sample[:, None, :]
    if stream.present is not None:
        seen &= stream.present[:, None, :]
    return seen | torch.eye(seen.shape[-1], dtype=torch.bool, device=seen.device)
