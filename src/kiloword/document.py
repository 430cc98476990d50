"""Documents as a stream: segments of text and pictures one after the other, packed into few sequences of a batch.

Transfusion (Zhou et al. 2024) and Chameleon (2024) for text and pictures in one stream; packing as in Raffel et al.
2019. Segments are defined in `tokens/segment.py`; here they are vectors already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from kiloword.prompts.prompt import Condition
from kiloword.tokens import Document, Layout, Picture, Segment, Text
from kiloword.transformer import Stream

# Axes: b spans, q positions of a span, w width, d documents, t positions of a stream, r packed sequences of c
# positions, n tokens of a picture.


@dataclass(frozen=True)
class Span:
    """The embedded positions of `b` segments of one kind: prompts, pictures, or texts; padding comes last.

    A position attends to earlier spans that are not `private`, and to its own span: to all of it, or if it is `causal`
    to steps up to its own. `positions` are (time, scale, y, x), the time counted from the span's start; a span takes
    `lasts` units of time. `present`: not padding. `filled`: which positions are fed a token. `modulation` is each
    position's own vector, to which the condition's is added.
    """

    vectors: Float[Tensor, "b q w"]
    positions: Float[Tensor, "b q 4"]
    step: Int[Tensor, "b q"]
    present: Bool[Tensor, "b q"]
    causal: bool
    filled: Bool[Tensor, "b q"]
    lasts: Int[Tensor, "b"]
    modulation: Float[Tensor, "b q w"] | None = None
    private: bool = False


def text_span(
    vectors: Float[Tensor, "b q w"], present: Bool[Tensor, "b q"], causal: bool, first: int = 0, placed: bool = True
) -> Span:
    """The span of embedded text: one unit of time a token, the first at time and step `first`; y and x are 0, or NaN
    if not `placed`."""
    b, q, _ = vectors.shape
    time = torch.arange(first, first + q, device=vectors.device).expand(b, -1)
    positions = torch.zeros(b, q, 4, device=vectors.device)
    positions[..., 0] = time
    if not placed:
        positions[..., 2:] = torch.nan
    return Span(vectors, positions, time, present, causal, torch.ones_like(present), present.sum(1))


def picture_span(
    vectors: Float[Tensor, "b q w"], layout: Layout, index: Int[Tensor, "b q"], step: Int[Tensor, "b q"], causal: bool,
    filled: Bool[Tensor, "b q"] | None = None, times: Int[Tensor, "n"] | None = None,
) -> Span:  # fmt: skip
    """The span of an embedded picture, each position with the coordinates of the token `index` of the layout (-1: y and
    x are NaN). All share one time, and the picture takes one unit of it, unless the `times` of the tokens are given:
    then it takes a unit for each."""
    b, q, _ = vectors.shape
    positions = torch.zeros(b, q, 4, device=vectors.device)
    if times is not None:
        positions[..., 0] = times.to(vectors.device)[index]
    positions[..., 1:] = layout.positions().to(vectors.device)[index.clamp(min=0)]
    positions[..., 2:].masked_fill_((index < 0)[..., None], torch.nan)
    present = torch.ones(b, q, dtype=torch.bool, device=vectors.device)
    filled = present if filled is None else filled
    lasts = torch.full((b,), 1 if times is None else layout.count, device=vectors.device)
    return Span(vectors, positions, step, present, causal, filled, lasts)


def condition_span(condition: Condition, closed: Bool[Tensor, "b"] | None = None) -> Span:
    """The span of conditions' prefixes. Where one is `closed`, nothing is predicted from its start vector, which then
    is appended to the prefix as a position."""
    prefix, present = condition.prefix, condition.present
    if closed is not None and condition.start is not None and bool(closed.any()):
        prefix, present = pad(prefix, (0, 0, 0, 1)), pad(present, (0, 1))
        batch, last = torch.arange(len(prefix), device=prefix.device), condition.present.sum(1)
        start = torch.where(closed[:, None], condition.start.to(prefix), prefix[batch, last])
        prefix = prefix.index_put((batch, last), start)
        present = present.index_put((batch, last), closed)
    return text_span(prefix, present, condition.causal, placed=condition.placed)


def twice(document: Document) -> list[Segment]:
    """The document with every predicted picture that is followed by other segments laid twice: as it is generated
    (no later segment attends to it) and again as it is read."""
    last = len(document) - 1
    return [
        part
        for number, segment in enumerate(document)
        for part in ([segment, replace(segment, predict=False)] if drawn(segment) and number < last else [segment])
    ]


def to_draw(prompts: Sequence, layout: Layout) -> list[Document]:
    """Documents in which a picture of this layout is predicted from each prompt."""
    return [[Text(prompt), Picture(layout, predict=True)] for prompt in prompts]


def to_learn(
    prompts: Sequence, layout: Layout, tokens: Tensor, shown: Tensor | None = None, predict_prompts: bool = False
) -> list[Document]:
    """The same for training: `tokens` [b, n, ...] are the targets, `shown` what their own later tokens see (None: the
    targets). With `predict_prompts`, the prompts are predicted too."""
    shown = tokens if shown is None else shown
    return [
        [Text(prompt, predict_prompts), Picture(layout, target, True, seen)]
        for prompt, target, seen in zip(prompts, tokens, shown, strict=True)
    ]


def to_describe(pictures: Tensor, layout: Layout, texts: Sequence[str | None] | None = None) -> list[Document]:
    """Documents in which a text is predicted from each of the pictures, tokens [b, n, ...]; `texts` are the targets in
    training."""
    texts = [None] * len(pictures) if texts is None else texts
    return [[Picture(layout, tokens), Text(text, True)] for tokens, text in zip(pictures, texts, strict=True)]


def drawn(segment: object) -> bool:
    """Whether a segment is a picture to predict."""
    return isinstance(segment, Picture) and segment.predict


@dataclass(frozen=True)
class Piece:
    """One span of a document: entry `index` of the batch of spans `batch`. `topic` is the index of its condition, -1
    for none. A `private` span (a picture that is laid again as it is read) is not attended to by later ones and takes
    no time."""

    batch: int
    index: int
    topic: int = -1
    private: bool = False


@dataclass(frozen=True)
class Laid:
    """Packed documents. `index`: for each batch of spans, the index of each of its positions in the flattened stream
    (any, for padding). `lasts` is the time that each document takes, `spans` the number of its spans."""

    stream: Stream
    index: list[Int[Tensor, "_ _"]]
    lasts: Int[Tensor, "d"]
    spans: Int[Tensor, "d"]

    def unpack(self, hidden: Float[Tensor, "r c w"], batch: int) -> Float[Tensor, "_ _ w"]:
        """The hidden vectors of one batch of spans, from those of the whole stream."""
        return hidden.flatten(0, 1)[self.index[batch]]


def lay(
    documents: Sequence[Sequence[Piece]], batches: Sequence[Span], condition: Condition | None = None,
    capacity: int | None = None, modulated: bool = False,
) -> Laid:  # fmt: skip
    """Pack documents into a stream, given their spans. With a `capacity`, several short ones share a sequence of about
    that many positions without attending to each other; without, each has a sequence of its own.

    A position is modulated by the sum of its own vector and its condition's (zeros if there is neither and the
    transformer is `modulated`), and cross-attends to its condition's context.
    """
    plan = _Plan.of(documents, batches)
    homes, sequences, width = _homes(plan.lengths, capacity)
    device = batches[0].vectors.device
    counts = torch.tensor(plan.column("count"), dtype=torch.long, device=device)
    piece = torch.repeat_interleave(counts)
    within = torch.arange(len(piece), device=device) - (counts.cumsum(0) - counts)[piece]

    def each(name: str) -> Int[Tensor, "_"]:
        return torch.tensor(plan.column(name), dtype=torch.long, device=device)[piece]

    home = torch.tensor([sequence * width + offset for sequence, offset in homes], dtype=torch.long, device=device)
    source, target = each("source") + within, home[each("document")] + each("offset") + within
    origin = torch.full((sequences * width,), -1, dtype=torch.long, device=device).scatter(0, target, source)
    taken = origin.clamp(min=0)

    def gathered(parts: list[Tensor]) -> Tensor:
        return torch.cat([part.flatten(0, 1) for part in parts])[taken].unflatten(0, (sequences, width))

    def spread(name: str, empty: int = 0) -> Int[Tensor, "r c"]:
        return torch.full_like(origin, empty).scatter(0, target, each(name)).view(sequences, width)

    positions, topic = gathered([batch.positions for batch in batches]), spread("topic", -1)
    positions[..., 0] += spread("time")
    present = (origin >= 0).view(sequences, width)
    own = None
    if any(batch.modulation is not None for batch in batches):
        own = gathered(
            [torch.zeros_like(batch.vectors) if batch.modulation is None else batch.modulation for batch in batches]
        )
    vectors = gathered([batch.vectors for batch in batches])
    stream = Stream(
        vectors, positions, sample=spread("document") if sequences < len(documents) else None, span=spread("span"),
        step=gathered([batch.step for batch in batches]), causal=spread("causal") > 0, present=present,
        filled=gathered([batch.filled for batch in batches]),
        modulation=_modulation(own, condition, topic, torch.zeros_like(vectors) if modulated else None),
        private=spread("private") > 0 if any(plan.column("private")) else None, **_context(condition, topic),
    )  # fmt: skip
    sizes = [batch.present.numel() for batch in batches]
    index = torch.zeros(sum(sizes), dtype=torch.long, device=device).scatter(0, source, target).split(sizes)
    index = [part.view(batch.present.shape) for part, batch in zip(index, batches, strict=True)]
    return Laid(stream, index, *(torch.tensor(n, device=device) for n in (plan.lasts, plan.spans)))


@dataclass(frozen=True)
class _Plan:
    """The pieces of all documents, each a dictionary of numbers, and each document's length in positions, time and
    spans."""

    pieces: list[dict[str, int]]
    lengths: list[int]
    lasts: list[int]
    spans: list[int]

    def column(self, name: str) -> list[int]:
        return [piece[name] for piece in self.pieces]

    @classmethod
    def of(cls, documents: Sequence[Sequence[Piece]], batches: Sequence[Span]) -> "_Plan":
        counts = [batch.present.sum(1).tolist() for batch in batches]
        lasts = [batch.lasts.tolist() for batch in batches]
        firsts = [0, *accumulate(batch.present.numel() for batch in batches)]
        pieces, ends = [], []
        for number, document in enumerate(documents):
            offset = time = 0
            for span, piece in enumerate(document):
                batch, count = batches[piece.batch], int(counts[piece.batch][piece.index])
                source = firsts[piece.batch] + piece.index * batch.present.shape[1]
                pieces.append({
                    "document": number, "span": span, "count": count, "source": source, "offset": offset, "time": time,
                    "topic": piece.topic, "causal": int(batch.causal), "private": int(piece.private),
                })  # fmt: skip
                offset, time = offset + count, time + (0 if piece.private else int(lasts[piece.batch][piece.index]))
            ends.append((offset, time, len(document)))
        return cls(pieces, *(list(column) for column in zip(*ends, strict=True)))


def of_topic(values: Tensor, topic: Int[Tensor, "*n"]) -> Tensor:
    """The values [*n, ...] of conditions by their indices, from those [k, ...] of all; zeros for -1."""
    missing = (topic < 0)[(..., *(None,) * (values.ndim - 1))]
    return values[topic.clamp(min=0)].masked_fill(missing, 0)


def _modulation(
    own: Float[Tensor, "r c w"] | None, condition: Condition | None, topic: Int[Tensor, "r c"],
    least: Float[Tensor, "r c w"] | None,
) -> Float[Tensor, "r c w"] | None:  # fmt: skip
    """The sum of each position's own modulation vector and its condition's; `least` if there is neither."""
    if condition is None or condition.vector is None:
        return least if own is None else own
    shared = of_topic(condition.vector, topic)
    return shared if own is None else own + shared


def _context(condition: Condition | None, topic: Int[Tensor, "r c"]) -> dict:
    """The contexts of the conditions in each sequence, concatenated, and which of them a position attends to."""
    if condition is None or condition.context is None:
        return {}
    topics = [sorted(set(numbers) - {-1}) for numbers in topic.tolist()]
    longest = max(1, *map(len, topics))
    owners = torch.tensor([numbers + [-1] * (longest - len(numbers)) for numbers in topics], device=topic.device)
    return {"context": condition.context.gathered(owners), "topic": topic}


def _homes(lengths: list[int], capacity: int | None) -> tuple[list[tuple[int, int]], int, int]:
    """The sequence and the offset of each document, the number of sequences and their length."""
    if capacity is None:
        return [(sequence, 0) for sequence in range(len(lengths))], len(lengths), max(lengths)
    width = max(capacity, *lengths)
    homes, fill = _first_fit(lengths, width)
    return homes, len(fill), width


def _first_fit(lengths: list[int], capacity: int) -> tuple[list[tuple[int, int]], list[int]]:
    """First-fit-decreasing packing: the sequence and offset of each document, and how full each sequence is."""
    homes, fill = [(0, 0)] * len(lengths), []
    for document in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fitting = (k for k, used in enumerate(fill) if used + lengths[document] <= capacity)
        sequence = next(fitting, len(fill))
        if sequence == len(fill):
            fill.append(0)
        homes[document] = (sequence, fill[sequence])
        fill[sequence] += lengths[document]
    return homes, fill
