"""Spans laid one after the other keep their times, and packing documents into fewer sequences changes nothing."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.document import (
    Laid,
    Piece,
    Span,
    condition_span,
    drawn,
    lay,
    picture_span,
    text_span,
    to_describe,
    to_draw,
    to_learn,
    twice,
)
from kiloword.opening import behind, following, join, opened, pile
from kiloword.prompts.prompt import Condition
from kiloword.tokens import Layout, Picture, Text
from kiloword.transformer import Context, Stream, visible

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=5)
LAYOUT = Layout(((1, 1), (1, 3)))


def spans_of(lengths: list[int], causal: bool = True) -> tuple[Span, Span]:
    """A text of `lengths[i]` positions for document i, and a picture of four."""
    b, longest = len(lengths), max(1, *lengths)
    generator = torch.Generator().manual_seed(sum(lengths))
    present = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    text = text_span(torch.randn(b, longest, tiny.WIDTH, generator=generator), present, causal=False)
    place = torch.arange(4).expand(b, -1)
    return text, picture_span(torch.randn(b, 4, tiny.WIDTH, generator=generator), LAYOUT, place, place, causal)


def vectors_of(count: int, modulated: bool) -> Condition | None:
    """What modulates each of so many documents, if anything does."""
    if not modulated:
        return None
    said = torch.randn(count, tiny.WIDTH, generator=torch.Generator().manual_seed(count))
    return Condition(torch.zeros(count, 0, tiny.WIDTH), torch.zeros(count, 0).bool(), vector=said)


def laid(*spans: Span, condition: Condition | None = None, capacity: int | None = None) -> Laid:
    """Row i of every span is document i, which stands under condition i."""
    rows = range(len(spans[0].vectors))
    documents = [[Piece(lot, row, -1 if condition is None else row) for lot in range(len(spans))] for row in rows]
    return lay(documents, spans, condition, capacity)


def test_time_goes_on_by_the_present_positions_and_a_picture_takes_one_unit():
    text = text_span(torch.zeros(2, 3, 4), torch.tensor([[True] * 3, [True, False, False]]), causal=True)
    place = torch.tensor([[0, 3], [1, 2]])
    picture = picture_span(torch.zeros(2, 2, 4), LAYOUT, place, place, causal=True)
    whole = laid(text, picture, text)
    stream = whole.stream
    assert stream.present.tolist() == [[True] * 8, [True] * 4 + [False] * 4]
    assert stream.positions[0, :, 0].tolist() == [0, 1, 2, 3, 3, 4, 5, 6]
    assert stream.positions[1, :4, 0].tolist() == [0, 1, 1, 2]
    assert stream.positions[1, 1:3, 1:].tolist() == LAYOUT.positions()[[1, 2]].tolist()
    assert stream.span[0].tolist() == [0, 0, 0, 1, 1, 2, 2, 2] and stream.span[1, :4].tolist() == [0, 1, 1, 2]
    assert stream.step[0].tolist() == [0, 1, 2, 0, 3, 0, 1, 2] and stream.step[1, :4].tolist() == [0, 1, 2, 0]
    assert whole.lasts.tolist() == [7, 3] and whole.spans.tolist() == [3, 3] and stream.sample is None


@given(LENGTHS, st.booleans(), st.booleans())
def test_spans_may_be_laid_one_by_one(lengths, causal, modulated):
    text, picture = spans_of(lengths, causal)
    condition = vectors_of(len(lengths), modulated)
    whole = laid(text, picture, condition=condition)
    none = Condition(text.vectors[:, :0], text.present[:, :0])
    opening = opened(laid(text, condition=condition), condition or none)
    behind_it = behind(opening, picture, modulated)
    then = following(opening, picture, modulated)
    for row, count in enumerate(lengths):
        assert torch.equal(then.positions[row], whole.stream.positions[row, count : count + 4])
        assert torch.equal(then.span[row], whole.stream.span[row, count : count + 4])
        both = behind_it.present[row]
        assert both.sum() == count + 4
        for name in ("vectors", "positions", "span", "step", "causal", "filled", *(["modulation"] * modulated)):
            mine, wanted = getattr(behind_it, name), getattr(whole.stream, name)
            assert torch.equal(mine[row, both], wanted[row, : count + 4])
        if modulated:
            assert torch.equal(then.modulation[row, 0], condition.vector[row])
    assert modulated or then.modulation is None
    assert torch.equal(opening.lengths, torch.tensor(lengths)) and torch.equal(opening.time, text.lasts)


@given(LENGTHS, st.integers(1, 30), st.booleans())
def test_unpacking_undoes_packing(lengths, capacity, modulated):
    spans, condition = spans_of(lengths), vectors_of(len(lengths), modulated)
    apart, packed = laid(*spans, condition=condition), laid(*spans, condition=condition, capacity=capacity)
    assert packed.stream.present.sum() == apart.stream.present.sum() == sum(lengths) + 4 * len(lengths)
    assert packed.stream.vectors.shape[1] == max(capacity, max(lengths) + 4)
    assert len(packed.stream.vectors) <= len(lengths) == len(apart.stream.vectors)
    homes = []
    for lot, span in enumerate(spans):
        back = packed.unpack(packed.stream.vectors, lot)
        assert torch.equal(back[span.present], span.vectors[span.present])
        homes += packed.index[lot][span.present].tolist()
        if modulated:
            told = packed.unpack(packed.stream.modulation, lot)
            assert torch.equal(told[span.present], condition.vector[:, None].expand_as(told)[span.present])
    assert len(set(homes)) == len(homes) == int(packed.stream.present.sum())
    assert packed.stream.present.flatten()[torch.tensor(homes)].all()


@given(LENGTHS, st.integers(1, 30), st.booleans(), st.booleans())
@torch.no_grad()
def test_a_packed_document_is_read_as_an_unpacked_one(lengths, capacity, causal, modulated):
    torch.manual_seed(0)
    transformer = tiny.awake((tiny.modulated() if modulated else tiny.stack()).build())
    spans, condition = spans_of(lengths, causal), vectors_of(len(lengths), modulated)
    apart, packed = laid(*spans, condition=condition), laid(*spans, condition=condition, capacity=capacity)
    hidden, wanted = transformer(packed.stream), transformer(apart.stream)
    for lot, span in enumerate(spans):
        found, expected = packed.unpack(hidden, lot)[span.present], apart.unpack(wanted, lot)[span.present]
        assert torch.allclose(found, expected, atol=1e-5)


@given(LENGTHS)
@torch.no_grad()
def test_absent_positions_change_nothing(lengths):
    torch.manual_seed(0)
    transformer = tiny.stack().build()
    stream = laid(*spans_of(lengths)).stream
    noisy = replace(stream, vectors=torch.where(stream.present[..., None], stream.vectors, torch.tensor(9.0)))
    assert torch.allclose(transformer(noisy)[stream.present], transformer(stream)[stream.present], atol=1e-6)


@given(LENGTHS, LENGTHS)
@torch.no_grad()
def test_piled_streams_stay_as_they_are(first, second):
    torch.manual_seed(0)
    transformer, streams = tiny.stack().build(), [laid(*spans_of(lengths)).stream for lengths in (first, second)]
    piled = pile(streams)
    assert piled.vectors.shape[0] == len(first) + len(second)
    hidden = transformer(piled)[piled.present]
    wanted = torch.cat([transformer(stream)[stream.present] for stream in streams])
    assert torch.allclose(hidden, wanted, atol=1e-5)


@torch.no_grad()
def test_streams_that_say_less_of_themselves_may_be_piled_too():
    """All that is left out means something: all see each other, all are there, nothing modulates."""
    torch.manual_seed(0)
    transformer = tiny.awake(tiny.modulated().build())
    whole = laid(*spans_of([2, 3]), condition=vectors_of(2, True)).stream
    plain = Stream(torch.randn(1, 5, tiny.WIDTH), torch.zeros(1, 5, 4), modulation=torch.randn(1, 1, tiny.WIDTH))
    hidden = transformer(pile([whole, plain]))
    assert torch.allclose(hidden[:2][whole.present], transformer(whole)[whole.present], atol=1e-5)
    assert torch.allclose(hidden[2:, :5], transformer(plain), atol=1e-5)


def test_documents_of_any_pieces_stand_in_one_stream():
    """Document 0: text 1, picture 0, text 0. Document 1: picture 1. The picture of document 0 is private."""
    text, picture = spans_of([2, 3])
    documents = [[Piece(0, 1), Piece(1, 0, private=True), Piece(0, 0)], [Piece(1, 1)]]
    for capacity in (None, 40):
        whole = lay(documents, [text, picture], capacity=capacity)
        sees = visible(whole.stream)
        assert whole.lasts.tolist() == [5, 1] and whole.spans.tolist() == [3, 1]  # what is private takes no time
        row, start = (1, 0) if capacity is None else (0, 9)
        assert torch.equal(whole.stream.vectors[0, :3], text.vectors[1])
        assert torch.equal(whole.stream.vectors[0, 3:7], picture.vectors[0])
        assert torch.equal(whole.stream.vectors[0, 7:9], text.vectors[0, :2])
        assert torch.equal(whole.stream.vectors[row, start : start + 4], picture.vectors[1])
        assert whole.stream.positions[0, :9, 0].tolist() == [0, 1, 2, 3, 3, 3, 3, 3, 4]
        assert sees[0, 3:7, :3].all() and not sees[0, 7:9, 3:7].any() and sees[0, 7:9, :3].all()
        assert sees[row, start : start + 4].nonzero()[:, 1].unique().tolist() == list(range(start, start + 4))


def test_each_position_is_told_what_its_own_condition_says():
    text, picture = spans_of([2, 1])
    told = torch.randn(3, tiny.WIDTH)
    context = Context(torch.randn(3, 2, tiny.WIDTH), torch.tensor([[True, True], [True, False], [True, True]]))
    blank = torch.zeros(3, 0, tiny.WIDTH)
    condition = Condition(blank, blank[..., 0].bool(), vector=told, context=context)
    documents = [[Piece(0, 0, 2), Piece(1, 0, 0)], [Piece(0, 1), Piece(1, 1, 1)]]
    whole = lay(documents, [text, picture], condition, capacity=11)
    assert len(whole.stream.vectors) == 1 and whole.stream.topic[0].tolist() == [2] * 2 + [0] * 4 + [-1] + [1] * 4
    modulation = whole.stream.modulation[0]
    assert torch.equal(modulation[2:6], told[:1].expand(4, -1)) and not modulation[6].any()
    heard = whole.stream.context.mask(whole.stream.topic)[0]
    words = whole.stream.context.vectors[0]
    for position, topic in enumerate(whole.stream.topic[0].tolist()):
        expected = context.vectors[topic, context.present[topic]] if topic >= 0 else words[:0]
        assert torch.equal(words[heard[position]], expected)


def test_a_transformer_that_is_modulated_is_told_zeros_where_nothing_is_said():
    text, picture = spans_of([2, 1])
    documents = [[Piece(0, row), Piece(1, row)] for row in range(2)]
    assert lay(documents, [text, picture]).stream.modulation is None
    assert not lay(documents, [text, picture], modulated=True).stream.modulation.any()
    own = replace(picture, modulation=torch.randn_like(picture.vectors))
    told = lay(documents, [text, own], modulated=True)
    assert torch.equal(told.unpack(told.stream.modulation, 1), own.modulation)
    assert not told.unpack(told.stream.modulation, 0).any()


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=4))
def test_a_closed_condition_ends_with_its_own_start(which):
    counts, closed = (torch.tensor(column) for column in zip(*which, strict=True))
    prefix, start = torch.randn(len(which), 3, 4), torch.randn(len(which), 4)
    present = torch.arange(3) < counts[:, None]
    span = condition_span(Condition(prefix, present, start=start, causal=True), closed)
    assert span.causal and torch.equal(span.lasts, counts + closed)
    for row, count in enumerate(counts.tolist()):
        expected = torch.cat([prefix[row, :count], start[row : row + 1][: int(closed[row])]])
        assert torch.equal(span.vectors[row, span.present[row]], expected)
    assert torch.equal(condition_span(Condition(prefix, present, start=start)).present, present)


def test_openings_are_joined_and_repeated_row_by_row():
    first, second = (laid(*spans_of(lengths), condition=vectors_of(2, True)) for lengths in ([0, 3], [1, 2]))
    condition = vectors_of(2, True)
    one, two = opened(first, condition), opened(second, replace(condition, vector=condition.vector + 1))
    both = join([one, two])
    assert both.lengths.tolist() == [4, 7, 5, 6] and both.time.tolist() == [1, 4, 2, 3] and join([one]) is one
    assert torch.equal(both.condition.vector, torch.cat([one.condition.vector, two.condition.vector]))
    thrice = one.repeated(3)
    assert thrice.time.tolist() == [1, 1, 1, 4, 4, 4] and thrice.lengths.tolist() == [4] * 3 + [7] * 3
    for index in range(6):
        assert torch.equal(thrice.condition.vector[index], one.condition.vector[index // 3])
        assert torch.equal(thrice.stream.vectors[index], one.stream.vectors[index // 3])


def test_documents_to_draw_to_learn_and_to_describe():
    tokens, shown = torch.arange(8).view(2, 4), torch.arange(8).view(2, 4) + 10
    assert to_draw(["a", None], LAYOUT) == [[Text(words), Picture(LAYOUT, None, True)] for words in ("a", None)]
    learned = to_learn(["a", "b"], LAYOUT, tokens, shown)
    assert [text for text, _ in learned] == [Text("a"), Text("b")]
    for (_, picture), target, seen in zip(learned, tokens, shown, strict=True):
        assert picture.predict and torch.equal(picture.tokens, target) and torch.equal(picture.shown, seen)
    (text, picture), *_ = to_learn(["a", "b"], LAYOUT, tokens, predict_prompts=True)
    assert text.predict and torch.equal(picture.shown, tokens[0])
    described = to_describe(tokens, LAYOUT, ["a", "b"])
    assert [text for _, text in described] == [Text("a", True), Text("b", True)]
    assert not any(picture.predict for picture, _ in described)
    assert [text for _, text in to_describe(tokens, LAYOUT)] == [Text(None, True)] * 2
    with pytest.raises(ValueError, match="longer"):
        to_learn(["a"], LAYOUT, tokens)


def test_a_picture_that_is_drawn_and_read_on_stands_twice():
    picture = Picture(LAYOUT, torch.arange(4), predict=True)
    document = [Text("a"), picture, Text("b"), picture]
    found = twice(document)
    assert [drawn(segment) for segment in found] == [False, True, False, False, True]
    assert found[0] is document[0] and found[1] is picture and found[4] is picture
    assert found[2] == replace(picture, predict=False) and twice(document[:2]) == document[:2]
