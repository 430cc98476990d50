"""Embedding of documents: every segment through its part of the model, batched by kind.

Chameleon Team 2024 and Zhou et al. 2024 (Transfusion) for text and pictures in one stream.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from kiloword.document import Laid, Piece, Span, condition_span, drawn, lay, of_topic, twice
from kiloword.modality import Modality, TextModality
from kiloword.noise import Noise, Selected
from kiloword.opening import of_topics
from kiloword.prompts.prompt import Condition, Prompt
from kiloword.tokens import Document, Layout, Picture, Prompted, Segment, Text

# Axes: s segments, n tokens of a segment, d documents, w width, r packed sequences of c positions.


@dataclass(frozen=True)
class Loss:
    """Unreduced losses `values` of all tokens of `s` segments, in document order, and the loss `mask` of those to
    predict. `document` and `segment` are the index of each segment's document and its index in there."""

    values: Float[Tensor, "s n"]
    mask: Bool[Tensor, "s n"]
    document: Int[Tensor, "s"]
    segment: Int[Tensor, "s"]

    def masked(self) -> Float[Tensor, "s n"]:
        """The losses where the mask is true, zeros elsewhere."""
        return torch.where(self.mask, self.values, 0.0)

    def mean(self) -> Float[Tensor, ""]:
        """The mean over the tokens of the mask; 0 if it is empty."""
        return self.masked().sum() / self.mask.sum().clamp(min=1)

    def of_documents(self, count: int) -> Float[Tensor, "d"]:
        """The mean over the masked tokens of each of `count` documents; 0 for those with none."""
        total = self.values.new_zeros(count).index_add(0, self.document, self.masked().sum(1))
        tokens = self.values.new_zeros(count).index_add(0, self.document, self.mask.sum(1).to(self.values))
        return total / tokens.clamp(min=1)


def joined(losses: Sequence[Loss]) -> Loss:
    """Losses of one name concatenated, in document order, padded to the longest segment."""
    longest = max(loss.mask.shape[1] for loss in losses)
    values, mask = (
        torch.cat([pad(getattr(loss, name), (0, longest - loss.mask.shape[1])) for loss in losses])
        for name in ("values", "mask")
    )
    document, segment = (torch.cat([getattr(loss, name) for loss in losses]) for name in ("document", "segment"))
    order = (document * (segment.max() + 1) + segment).argsort()
    return Loss(values[order], mask[order], document[order], segment[order])


@dataclass(frozen=True)
class Entry:
    """A segment in its document, the `number`-th part of it as it is laid.

    `topic`: the index of its condition, -1 for none; `direct`: it comes right behind it. `closed`, of a condition:
    nothing is predicted from its start vector. `private`: later segments do not attend to it.
    """

    segment: Any  # a Picture or a Text, as the document has it, or a Prompted
    document: int
    number: int
    topic: int
    direct: bool
    closed: bool
    private: bool


class Embedding:
    """Embeds documents into `batches`, batches of spans of one kind; `predicted` lists those with a loss."""

    def __init__(self, prompt: Prompt, picture: Modality, text: TextModality | None, documents: Sequence[Document]):
        self.prompt, self.picture, self.text = prompt, picture, text
        self.documents = self._placed([prompt.script(twice(document)) for document in documents])
        self.condition: Condition | None = None
        self.batches: list[Span] = []
        self.predicted: list[tuple[str, int, Callable[[Tensor], Loss]]] = []  # name, batch, loss from hidden vectors
        self._home: dict[int, tuple[int, int]] = {}

    def read_prompts(self, null: bool = False) -> None:
        """Embed all prompts, or with `null` the null condition in their stead."""
        entries = self._all(lambda entry: isinstance(entry.segment, Prompted))
        if not entries:
            return
        condition = self.prompt.read([entry.segment.prompt for entry in entries])
        self.condition = self.prompt.null(condition) if null else condition
        device = condition.prefix.device
        closed = torch.tensor([entry.closed for entry in entries], device=device)
        self._add(condition_span(self.condition, closed), entries)
        predicted = torch.tensor([entry.segment.predict for entry in entries], device=device)
        if not bool(predicted.any()):
            return
        target, text = self.prompt.target([entry.segment.prompt for entry in entries]), self._writer()
        mask = predicted[:, None].expand_as(target)
        count = target.shape[1]
        self._predict("prompt", entries, mask, lambda hidden: text.head.loss(hidden[:, :count], target, None, None))

    def read_pictures(self) -> None:
        """Embed all given pictures."""
        for layout, entries in self._by_layout(lambda entry: read(entry.segment)):
            self._add(self.picture.read_span(stacked([entry.segment for entry in entries]), layout), entries)

    def write_texts(self, wanted: Callable[[Entry], bool] = lambda entry: True) -> None:
        """Embed all texts that are to be predicted, and `wanted`."""
        entries = self._all(lambda entry: isinstance(entry.segment, Text) and wanted(entry))
        if not entries:
            return
        text = self._writer()
        ids, present = text.encode([entry.segment.words for entry in entries])
        self._add(text.span(ids, present, self._starts(entries)), entries)
        self._predict("text", entries, present, lambda hidden: text.head.loss(hidden, ids, None, None))

    def draw_pictures(self, noise: Noise | None, done: float) -> None:
        """Embed all pictures that are to be predicted, each at a step sampled from its own schedule; `done` is the
        share of the training that has passed."""
        numbers = {id(entry): k for k, entry in enumerate(self._all(lambda entry: drawn(entry.segment)))}
        for layout, entries in self._by_layout(lambda entry: drawn(entry.segment)):
            index = torch.tensor([numbers[id(entry)] for entry in entries])
            self._draw(layout, entries, None if noise is None else Selected(noise, index), done)

    def _draw(self, layout: Layout, entries: list[Entry], noise: Noise | None, done: float) -> None:
        picture, order = self.picture, self.picture.order
        target, shown = stacked([entry.segment for entry in entries]), stacked([p.segment for p in entries], shown=True)
        b, device = len(entries), target.device
        schedule = order.training_schedule(layout, b, noise, done)
        level = order.training_levels(schedule, noise).to(device)
        schedule, mask, nothing = schedule.to(device), level > 0, torch.zeros_like(level).bool()
        if order.gradual:
            shown, mask = order.noised(shown, level, noise), mask & (level < 1)
        rank = order.attention_rank(schedule, layout, nothing, level == 0, mask)
        everything = torch.arange(layout.count, device=device).expand(b, -1)
        fed = picture.feed(shown, schedule, level, everything, layout)
        span, memo = picture.drawn_span(fed, schedule, rank, layout, self._starts(entries))
        self._add(span, entries)
        self._predict("picture", entries, mask, lambda hidden: picture.head.loss(hidden, target, memo, noise))

    def lay(self, capacity: int | None, modulated: bool, without: Callable[[Entry], bool] | None = None) -> Laid:
        """The packed stream of the documents, `without` some of their segments (see `document.lay`)."""
        pieces = [
            [Piece(*self._home[id(entry)], entry.topic, entry.private) for entry in document
             if without is None or not without(entry)]
            for document in self.documents
        ]  # fmt: skip
        return lay(pieces, self.batches, self.condition, capacity, modulated)

    def condition_of(self, entries: list[Entry]) -> Condition:
        """The conditions of some segments, as one batch: their starts, modulation vectors and contexts."""
        if self.condition is None:
            empty = torch.zeros(len(entries), 0, self.prompt.width, device=self.batches[0].vectors.device)
            return Condition(empty, empty[..., 0].bool())
        topics = torch.tensor([entry.topic for entry in entries], device=self.condition.prefix.device)
        return replace(of_topics(self.condition, topics), start=self._starts(entries))

    def losses(self, laid: Laid, hidden: Float[Tensor, "r c w"]) -> dict[str, Loss]:
        """The losses of what is predicted, by name: "prompt", "picture", "text"."""
        found: dict[str, list[Loss]] = {}
        for name, batch, of in self.predicted:
            found.setdefault(name, []).append(of(laid.unpack(hidden, batch)))
        return {name: joined(losses) for name, losses in found.items()}

    def _placed(self, scripts: list[list[Segment | Prompted]]) -> list[list[Entry]]:
        """Each segment's entry in its document. Raises ValueError for a picture without the prompt that it needs."""
        documents, topics = [], 0
        for number, script in enumerate(scripts):
            entries, topic = [], -1
            for k, segment in enumerate(script):
                after, before = (script[k + 1] if k + 1 < len(script) else None), (script[k - 1] if k else None)
                if isinstance(segment, Prompted):
                    topic, topics = topics, topics + 1
                goes_on = drawn(after) or (isinstance(after, Text) and after.predict)
                direct = isinstance(before, Prompted)
                if drawn(segment) and self.prompt.required and not direct:
                    raise ValueError("a picture is drawn from a prompt here: put a text, or None, straight before it")
                private = drawn(segment) and after is not None
                entries.append(Entry(segment, number, k, topic, direct, not goes_on, private))
            documents.append(entries)
        return documents

    def _all(self, wanted: Callable[[Entry], bool]) -> list[Entry]:
        return [entry for document in self.documents for entry in document if wanted(entry)]

    def _by_layout(self, wanted: Callable[[Entry], bool]) -> list[tuple[Layout, list[Entry]]]:
        groups: dict[Layout, list[Entry]] = {}
        for entry in self._all(wanted):
            groups.setdefault(entry.segment.layout, []).append(entry)
        return list(groups.items())

    def _add(self, span: Span, entries: list[Entry]) -> None:
        self._home |= {id(entry): (len(self.batches), k) for k, entry in enumerate(entries)}
        self.batches.append(span)

    def _predict(self, name: str, entries: list[Entry], mask: Tensor, loss: Callable[[Tensor], Tensor]) -> None:
        """Register the loss of the batch that was added last."""
        document, segment = (
            torch.tensor([getattr(entry, name) for entry in entries], device=mask.device)
            for name in ("document", "number")
        )
        self.predicted.append((name, len(self.batches) - 1, lambda hidden: Loss(loss(hidden), mask, document, segment)))

    def _starts(self, entries: list[Entry]) -> Float[Tensor, "s w"] | None:
        """The start vector of each segment: that of the condition immediately before it, else zeros."""
        start = None if self.condition is None else self.condition.start
        if start is None:
            return None
        topics = [entry.topic if entry.direct else -1 for entry in entries]
        return of_topic(start, torch.tensor(topics, device=start.device))

    def _writer(self) -> TextModality:
        if self.text is None:
            raise ValueError("this model only draws: it has no text to read or to write")
        return self.text


def read(segment: object) -> bool:
    """Whether a segment is a picture that is given."""
    return isinstance(segment, Picture) and not segment.predict


def stacked(pictures: Sequence[Picture], shown: bool = False) -> Tensor:
    """The tokens [s, n, ...] of pictures of one layout, or what is `shown` of them. Raises ValueError if one has
    none."""
    tokens = [one.shown if shown and one.shown is not None else one.tokens for one in pictures]
    if any(one is None for one in tokens):
        raise ValueError("a picture that is read, or learned, needs tokens")
    return torch.stack(tokens)  # type: ignore[arg-type]
