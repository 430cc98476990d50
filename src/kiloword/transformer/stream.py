"""Stream: the input vectors of a transformer with the metadata of their positions, and the attention mask.

Causal attention (Vaswani et al. 2017), bidirectional prefixes and block-causal spans (Zhou et al. 2024, Transfusion)
are one rule over the span and step of each position.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from kiloword.transformer.cache import Cache, KeyValueCache
from kiloword.transformer.cross_attention import Context
from kiloword.transformer.hidden_guidance import HiddenGuidance

# Axes: b batch, t positions of a sequence, a positions of the query index, n = a or t, w width.


@dataclass(frozen=True)
class Stream:
    """The input of a transformer: embedded positions, and what decides which of them attend to which.

    `positions` are (time, scale, y, x); y and x are NaN for a position outside of pictures, which only `Muted`
    rotary embeddings accept. `span` numbers the segments of a sample, `step` orders the positions of a `causal` span.
    `span` None is full attention as in a ViT: step, causal, sample and present are then ignored. Positions that are not
    `present` are padding. Positions that are not `filled` carry no token: the encoder of an `EncoderDecoder` drops
    them. `modulation` is the vector of adaptive layer norm (adaLN), of each position or of the whole sequence;
    `context` is for cross-attention. `hidden_guidance` combines the views of guidance inside the stack. `query_index`
    names the positions whose hidden vectors are returned, in that order: the last block computes no others.
    """

    vectors: Float[Tensor, "b t w"]
    positions: Float[Tensor, "b t 4"]  # time, scale, y, x
    sample: Int[Tensor, "b t"] | None = None  # the sample of each position if packed; None: one sample a sequence
    span: Int[Tensor, "b t"] | None = None
    step: Int[Tensor, "b t"] | None = None
    causal: Bool[Tensor, "b t"] | None = None
    present: Bool[Tensor, "b t"] | None = None  # None: all of them
    modulation: Float[Tensor, "b #t w"] | None = None
    filled: Bool[Tensor, "b t"] | None = None  # None: all of them
    context: Context | None = None
    hidden_guidance: HiddenGuidance | None = None
    query_index: Int[Tensor, "b a"] | None = None  # None: all of them
    private: Bool[Tensor, "b t"] | None = None  # attended to only from the same span; None: none
    topic: Int[Tensor, "b t"] | None = None  # the number of the context that a position attends to; None: its sample's


@runtime_checkable
class Transformer(Protocol):
    """What is required of a transformer: a stream in, the hidden vectors of its `query_index` out.

    `causal`: it can mask later positions, so that keys and values can be cached; without it all positions of a sample
    attend to each other. `cross_attends`: its blocks have cross-attention. `modulated`: its blocks have adaptive layer
    norm.
    """

    causal: bool

    @property
    def cross_attends(self) -> bool: ...

    @property
    def modulated(self) -> bool: ...

    @property
    def width(self) -> int: ...

    def __call__(self, stream: Stream, cache: Cache | None = None) -> Float[Tensor, "b a w"]: ...

    def cache(self, batch: int, capacity: int) -> KeyValueCache: ...


def at(values: Shaped[Tensor, "b t ..."], index: Int[Tensor, "b a"] | None) -> Shaped[Tensor, "b n ..."]:
    """The values at the positions of `index`, in that order; all of them if `index` is None."""
    return values if index is None else values[torch.arange(len(index), device=index.device)[:, None], index]


def visible(stream: Stream) -> Bool[Tensor, "b t t"] | None:
    """The attention mask: whether position i (second axis) attends to position j (third); None for full attention.

    It does if both belong to one sample, j is present, and either j's span is earlier and not private, or both are in
    one span and j's step is no later than i's or the span is not causal. Every position attends to itself.
    """
    if stream.span is None:
        return None
    assert stream.step is not None and stream.causal is not None
    span_i, span_j = stream.span[:, :, None], stream.span[:, None, :]
    within = (stream.step[:, None, :] <= stream.step[:, :, None]) | ~stream.causal[:, :, None]
    mask = (span_j < span_i) | ((span_j == span_i) & within)
    if stream.sample is not None:
        mask &= stream.sample[:, :, None] == stream.sample[:, None, :]
    if stream.private is not None:
        mask &= ~stream.private[:, None, :] | (span_j == span_i)
    if stream.present is not None:
        mask &= stream.present[:, None, :]
    return mask | torch.eye(mask.shape[-1], dtype=torch.bool, device=mask.device)
