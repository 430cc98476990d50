"""Spans of text and pictures, laid side by side in rows and packed into few of them.

Transfusion (Zhou et al. 2024) and Chameleon (2024) for text and pictures in one stream; packing as in Raffel et al.
2019.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from kiloword.tokens import Layout
from kiloword.transformer import Context, HiddenGuidance, Stream, stacked

# Axes: b pictures, q rows of a span, t rows of all spans, w width, r packed rows, c capacity of a packed row, s samples
# in one.


@dataclass(frozen=True)
class Span:
    """Rows that belong together: a prompt, a picture, a description. Present rows come first where some are absent."""

    vectors: Float[Tensor, "b q w"]
    places: Float[Tensor, "b q 4"]  # time (counted from the span's own start), scale, y, x
    step: Int[Tensor, "b q"]
    present: Bool[Tensor, "b q"]
    causal: bool
    filled: Bool[Tensor, "b q"]  # which rows are fed anything
    lasts: Int[Tensor, "b"]  # how much time the span takes
    modulation: Float[Tensor, "b q w"] | None = None  # what modulates each row, beside what modulates them all


def text_span(
    vectors: Float[Tensor, "b q w"], present: Bool[Tensor, "b q"], causal: bool, first: int = 0, placed: bool = True
) -> Span:
    """Rows of text: one unit of time each, in no place if they are not `placed`; `first` is the step of the first."""
    b, q, _ = vectors.shape
    time = torch.arange(first, first + q, device=vectors.device).expand(b, -1)
    places = torch.zeros(b, q, 4, device=vectors.device)
    places[..., 0] = time
    if not placed:
        places[..., 2:] = torch.nan
    return Span(vectors, places, time, present, causal, torch.ones_like(present), present.sum(1))


def picture_span(
    vectors: Float[Tensor, "b q w"], layout: Layout, seat: Int[Tensor, "b q"], step: Int[Tensor, "b q"], causal: bool,
    filled: Bool[Tensor, "b q"] | None = None, moments: Int[Tensor, "n"] | None = None,
) -> Span:  # fmt: skip
    """Rows of a picture, each where the layout has its `seat` (-1: nowhere). All stand at one time, and the picture
    takes a unit of it, unless the `moments` of the seats are given: then it takes a unit for each token."""
    b, q, _ = vectors.shape
    places = torch.zeros(b, q, 4, device=vectors.device)
    if moments is not None:
        places[..., 0] = moments.to(vectors.device)[seat]
    places[..., 1:] = layout.positions().to(vectors.device)[seat.clamp(min=0)]
    places[..., 2:].masked_fill_((seat < 0)[..., None], torch.nan)
    present = torch.ones(b, q, dtype=torch.bool, device=vectors.device)
    filled = present if filled is None else filled
    lasts = torch.full((b,), 1 if moments is None else layout.count, device=vectors.device)
    return Span(vectors, places, step, present, causal, filled, lasts)


def lay(
    spans: list[Span], modulation: Tensor | None = None, time: Tensor | None = None, first: int = 0,
    context: Context | None = None, hidden_guidance: HiddenGuidance | None = None,
) -> Stream:  # fmt: skip
    """Spans one after the other in time. `time` and `first` go on from spans that were laid before."""
    b, device = len(spans[0].vectors), spans[0].vectors.device
    time = torch.zeros(b, dtype=torch.long, device=device) if time is None else time
    positions, numbers, causal = [], [], []
    for number, span in enumerate(spans, start=first):
        shift = torch.zeros_like(span.places)
        shift[..., 0] = time[:, None]
        positions.append(span.places + shift)
        numbers.append(torch.full_like(span.step, number))
        causal.append(torch.full_like(span.present, span.causal))
        time = time + span.lasts
    return Stream(
        vectors=torch.cat([span.vectors for span in spans], dim=1),
        positions=torch.cat(positions, dim=1),
        span=torch.cat(numbers, dim=1),
        step=torch.cat([span.step for span in spans], dim=1),
        causal=torch.cat(causal, dim=1),
        present=torch.cat([span.present for span in spans], dim=1),
        modulation=_modulation(spans, modulation),
        filled=torch.cat([span.filled for span in spans], dim=1),
        context=context,
        hidden_guidance=hidden_guidance,
    )


def beside(spans: list[Span], vector: Float[Tensor, "b w"] | None = None) -> Float[Tensor, "b w"] | None:
    """The vector that modulates rows beside these spans: zeros, if none is given and they have some of their own."""
    if vector is not None or all(span.modulation is None for span in spans):
        return vector
    return torch.zeros_like(spans[0].vectors[:, 0])


def _modulation(spans: list[Span], vector: Float[Tensor, "b w"] | None) -> Float[Tensor, "b #t w"] | None:
    """The sum of what modulates all rows and of what modulates each."""
    if all(span.modulation is None for span in spans):
        return None if vector is None else vector[:, None]
    own = [torch.zeros_like(span.vectors) if span.modulation is None else span.modulation for span in spans]
    return torch.cat(own, dim=1) if vector is None else torch.cat(own, dim=1) + vector[:, None]


def pile(streams: list[Stream]) -> Stream:
    """Streams of one width on top of each other, the shorter ones filled up with absent rows."""
    longest = max(stream.vectors.shape[1] for stream in streams)

    def filled(name: str) -> Tensor:
        parts = [getattr(stream, name) for stream in streams]
        return torch.cat([_lengthen(part, longest - part.shape[1]) for part in parts])

    names = ("vectors", "positions", "span", "step", "causal", "present", "filled")
    modulation = None
    if any(stream.modulation is not None for stream in streams):
        modulation = torch.cat([_spread(stream, longest) for stream in streams])
    context = stacked([stream.context for stream in streams], [len(stream.vectors) for stream in streams])
    parts: dict[str, Any] = {name: filled(name) for name in names}
    return Stream(**parts, modulation=modulation, context=context)


def pack(stream: Stream, capacity: int) -> tuple[Stream, Int[Tensor, "b t"]]:
    """Several short samples in one row of about `capacity` places, so that absent rows cost nothing.

    Also returned: where each of the old rows went, counted over all new places (absent ones: anywhere).
    """
    present = _known(stream.present)
    b, t = present.shape
    lengths = present.sum(1).tolist()
    capacity = max(capacity, *lengths)
    homes, fill = _first_fit(lengths, capacity)
    device = present.device
    start = torch.tensor([home * capacity + offset for home, offset in homes], device=device)
    where = (start[:, None] + present.cumsum(1) - 1).clamp(min=0)
    source = torch.zeros(len(fill) * capacity, dtype=torch.long, device=device)
    source[where[present]] = torch.arange(b * t, device=device).view(b, t)[present]
    there = torch.zeros(len(fill) * capacity, dtype=torch.bool, device=device)
    there[where[present]] = True

    def moved(values: Tensor) -> Tensor:
        return values.flatten(0, 1)[source].unflatten(0, (len(fill), capacity))

    sample = torch.arange(b, device=device)[:, None].expand(b, t)
    packed = Stream(
        vectors=moved(stream.vectors), positions=moved(stream.positions), sample=moved(sample),
        span=moved(_known(stream.span)), step=moved(_known(stream.step)), causal=moved(_known(stream.causal)),
        present=there.view(len(fill), capacity), filled=moved(_known(stream.filled)),
        modulation=None if stream.modulation is None else moved(stream.modulation.expand(b, t, -1)),
        context=None if stream.context is None else stream.context.gathered(_tenants(homes, len(fill)).to(device)),
    )  # fmt: skip
    return packed, where


def unpack(hidden: Float[Tensor, "r c w"], where: Int[Tensor, "b t"]) -> Float[Tensor, "b t w"]:
    """Hidden vectors of packed rows back where their rows came from."""
    return hidden.flatten(0, 1)[where]


def _first_fit(lengths: list[int], capacity: int) -> tuple[list[tuple[int, int]], list[int]]:
    """The row and offset of each sample, longest first into the first row with room."""
    homes, fill = [(0, 0)] * len(lengths), []
    for sample in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        row = next((r for r, used in enumerate(fill) if used + lengths[sample] <= capacity), len(fill))
        if row == len(fill):
            fill.append(0)
        homes[sample] = (row, fill[row])
        fill[row] += lengths[sample]
    return homes, fill


def _spread(stream: Stream, length: int) -> Float[Tensor, "b t w"]:
    """What modulates each row of a stream that is filled up to a length."""
    vectors = stream.vectors
    told = torch.zeros_like(vectors) if stream.modulation is None else stream.modulation.expand(*vectors.shape)
    return _lengthen(told, length - vectors.shape[1])


def _tenants(homes: list[tuple[int, int]], rows: int) -> Int[Tensor, "r s"]:
    """The samples in each packed row, -1 where a row has fewer than others."""
    lists = [[sample for sample, (home, _) in enumerate(homes) if home == row] for row in range(rows)]
    most = max(map(len, lists))
    return torch.tensor([samples + [-1] * (most - len(samples)) for samples in lists])


def _lengthen(values: Tensor, by: int) -> Tensor:
    return pad(values, (0, 0) * (values.ndim - 2) + (0, by)) if by else values


def _known(values: Tensor | None) -> Tensor:
    assert values is not None
    return values
