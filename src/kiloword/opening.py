"""Openings: what stands before a picture or a text that is generated, and the streams of what follows it.

Pope et al. 2022 for reading a context once and keeping it. Documents are packed in `document.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from kiloword.document import Laid, Span, of_topic
from kiloword.prompts.prompt import Condition
from kiloword.transformer import Context, HiddenGuidance, Stream, stacked

# Axes: b pictures or texts, q positions of a span, w width, t positions of a stream.


@dataclass(frozen=True)
class Opening:
    """The embedded context of `b` pictures or texts that are to be generated, ready for the transformer's prefill.

    Padding of the stream comes last. `condition` is that of the next span: its start, its modulation vector and its
    context. `time` and `spans` are the time at which that span begins and its number.
    """

    stream: Stream
    condition: Condition
    time: Int[Tensor, "b"]
    spans: Int[Tensor, "b"]

    def modulation(self, own: Tensor | None, modulated: bool) -> Float[Tensor, "b #q w"] | None:
        """The modulation of the positions that follow: their `own` vectors plus the condition's, or zeros."""
        vector, prefix = self.condition.vector, self.condition.prefix
        if vector is None and modulated:
            vector = prefix.new_zeros(len(self.time), prefix.shape[2])
        if vector is None or own is None:
            return own if vector is None else vector[:, None]
        return own + vector[:, None]

    def repeated(self, count: int) -> "Opening":
        """The opening with every batch entry repeated `count` times in a row."""

        def all_fields(part: Any) -> Any:
            values = {field.name: getattr(part, field.name) for field in fields(part)}
            return replace(part, **{name: each(value) for name, value in values.items()})

        def each(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.repeat_interleave(count, dim=0)
            return all_fields(value) if is_dataclass(value) else value

        return all_fields(self)

    @property
    def lengths(self) -> Int[Tensor, "b"]:
        """The number of positions of each entry, without padding."""
        assert self.stream.present is not None
        return self.stream.present.sum(1)


def opened(laid: Laid, condition: Condition) -> Opening:
    """The opening of documents that are packed, with the condition of what follows."""
    return Opening(laid.stream, condition, laid.lasts, laid.spans)


def following(opening: Opening, span: Span, modulated: bool) -> Stream:
    """The stream of one more span behind each entry of an opening, without the opening itself (which is in the cache).
    A span of fewer entries is repeated for the views of the same pictures; each has the start of its own condition."""
    views, condition = len(opening.time) // len(span.vectors), opening.condition

    def each(values: Tensor) -> Tensor:
        return values.repeat(views, *(1,) * (values.ndim - 1))

    filled, positions = each(span.filled), each(span.positions)
    positions[..., 0] += opening.time[:, None]
    vectors = started(each(span.vectors), filled, condition.start)
    number = opening.spans[:, None].expand(filled.shape)
    own = None if span.modulation is None else each(span.modulation)
    return Stream(
        vectors, positions, span=number, step=each(span.step), causal=torch.full_like(filled, span.causal),
        present=each(span.present), filled=filled, modulation=opening.modulation(own, modulated),
        context=condition.context,
    )  # fmt: skip


def behind(opening: Opening, span: Span, modulated: bool, hidden_guidance: HiddenGuidance | None = None) -> Stream:
    """The stream of an opening and of one more span behind each of its entries."""
    first, then = opening.stream, following(opening, span, modulated)
    if not first.vectors.shape[1]:
        return replace(then, hidden_guidance=hidden_guidance)
    names = ("vectors", "positions", "span", "step", "causal", "present", "filled")
    parts: dict = {name: torch.cat([getattr(first, name), getattr(then, name)], dim=1) for name in names}
    if then.modulation is not None:
        parts["modulation"] = torch.cat([modulations(one) for one in (first, then)], dim=1)
    if then.context is not None:
        parts |= _beside(first, then)
    return Stream(**parts, hidden_guidance=hidden_guidance)


def _beside(first: Stream, then: Stream) -> dict:
    """The contexts of both, and which of them each position attends to."""
    assert first.context is not None and then.context is not None and first.context.sample is not None
    own = -2  # no condition has this number
    present = torch.cat([first.context.present, then.context.present], dim=1)
    owner = torch.cat([first.context.sample, torch.full_like(then.context.present, own, dtype=torch.long)], dim=1)
    assert first.topic is not None and then.span is not None
    topic = torch.cat([first.topic, torch.full_like(then.span, own)], dim=1)
    vectors = torch.cat([first.context.vectors, then.context.vectors], dim=1)
    return {"context": Context(vectors, present, owner), "topic": topic}


def started(
    vectors: Float[Tensor, "b q w"], real: Bool[Tensor, "b q"], start: Float[Tensor, "b w"] | None
) -> Float[Tensor, "b q w"]:
    """Vectors with a condition's `start` added where nothing real is fed."""
    return vectors if start is None else vectors + torch.where(real[..., None], 0, start[:, None])


def join(openings: Sequence[Opening]) -> Opening:
    """Several views of the same pictures as one batch."""
    if len(openings) == 1:
        return openings[0]
    conditions = [opening.condition for opening in openings]
    return Opening(
        pile([opening.stream for opening in openings]), stacked_conditions(conditions),
        torch.cat([opening.time for opening in openings]), torch.cat([opening.spans for opening in openings]),
    )  # fmt: skip


def stacked_conditions(conditions: Sequence[Condition]) -> Condition:
    """Conditions of one kind as one batch, without their prefixes."""

    def together(name: str) -> Tensor | None:
        parts = [getattr(condition, name) for condition in conditions]
        return None if parts[0] is None else torch.cat(parts)

    context = stacked([one.context for one in conditions], [len(one.prefix) for one in conditions])
    prefix, present = (torch.cat([getattr(one, name)[:, :0] for one in conditions]) for name in ("prefix", "present"))
    return Condition(prefix, present, together("vector"), together("start"), context=context)


def of_topics(condition: Condition, topics: Int[Tensor, "b"]) -> Condition:
    """The conditions of these indices, without their prefixes; zeros and no context for -1."""

    def chosen(values: Tensor | None) -> Tensor | None:
        return None if values is None else of_topic(values, topics)

    context = condition.context
    if context is not None:
        context = Context(context.vectors[topics.clamp(min=0)], of_topic(context.present, topics))
    prefix, present = of_topic(condition.prefix[:, :0], topics), of_topic(condition.present[:, :0], topics)
    return Condition(prefix, present, chosen(condition.vector), chosen(condition.start), context=context)


def pile(streams: Sequence[Stream]) -> Stream:
    """Streams of one width as one batch, padded to one length. A field that some have and others lack is filled with
    what its absence means."""
    longest = max(stream.vectors.shape[1] for stream in streams)
    without = {"present": True, "causal": False, "filled": True, "private": False}

    def filled(name: str) -> Tensor | None:
        parts = [getattr(stream, name) for stream in streams]
        if all(part is None for part in parts) and not (name == "present" and ragged):
            return None
        like = [stream.vectors.shape[:2] for stream in streams]
        parts = [
            torch.full(shape, without.get(name, 0), device=stream.vectors.device) if part is None else part
            for part, shape, stream in zip(parts, like, streams, strict=True)
        ]
        return torch.cat([_lengthen(part, longest - part.shape[1]) for part in parts])

    ragged = len({stream.vectors.shape[1] for stream in streams}) > 1
    names = ("vectors", "positions", "sample", "span", "step", "causal", "present", "filled", "private", "topic")
    modulation = None
    if any(stream.modulation is not None for stream in streams):
        vectors = [modulations(stream) for stream in streams]
        modulation = torch.cat([_lengthen(one, longest - one.shape[1]) for one in vectors])
    context = stacked([stream.context for stream in streams], [len(stream.vectors) for stream in streams])
    parts: dict = {name: filled(name) for name in names}
    return Stream(**parts, modulation=modulation, context=context)


def modulations(stream: Stream) -> Float[Tensor, "b t w"]:
    """The modulation vector of each position of a stream; zeros if it has none."""
    if stream.modulation is None:
        return torch.zeros_like(stream.vectors)
    return stream.modulation.expand_as(stream.vectors)


def _lengthen(values: Tensor, by: int) -> Tensor:
    return pad(values, (0, 0) * (values.ndim - 2) + (0, by)) if by else values
