"""Spans laid side by side keep their times, and packing them into fewer rows changes nothing."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.stream import lay, pack, picture_span, pile, text_span, unpack
from kiloword.tokens import Layout
from kiloword.transformer import Stream

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=5)
LAYOUT = Layout(((1, 1), (1, 3)))


def stream_of(lengths: list[int], causal: bool = True, modulated: bool = False) -> Stream:
    """A text of `lengths[i]` rows for sample i, then a picture of four rows."""
    b, longest = len(lengths), max(1, *lengths)
    generator = torch.Generator().manual_seed(sum(lengths))
    present = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    text = text_span(torch.randn(b, longest, tiny.WIDTH, generator=generator), present, causal=False)
    place = torch.arange(4).expand(b, -1)
    picture = picture_span(torch.randn(b, 4, tiny.WIDTH, generator=generator), LAYOUT, place, place, causal)
    return lay([text, picture], torch.randn(b, tiny.WIDTH, generator=generator) if modulated else None)


def test_time_goes_on_by_the_present_rows_and_a_picture_takes_one_unit():
    text = text_span(torch.zeros(2, 3, 4), torch.tensor([[True] * 3, [True, False, False]]), causal=True)
    place = torch.tensor([[0, 3], [1, 2]])
    picture = picture_span(torch.zeros(2, 2, 4), LAYOUT, place, place, causal=True)
    stream = lay([text, picture, text])
    assert stream.positions[0, :, 0].tolist() == [0, 1, 2, 3, 3, 4, 5, 6]
    assert stream.positions[1, :, 0].tolist() == [0, 1, 2, 1, 1, 2, 3, 4]
    assert stream.positions[1, 3:5, 1:].tolist() == LAYOUT.positions()[[1, 2]].tolist()
    assert stream.span[0].tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert stream.step[0].tolist() == [0, 1, 2, 0, 3, 0, 1, 2]


def test_spans_may_be_laid_one_by_one():
    text = text_span(torch.zeros(1, 2, 4), torch.ones(1, 2, dtype=torch.bool), causal=True)
    whole, second = lay([text, text]), lay([text], time=text.lasts, first=1)
    assert torch.equal(whole.positions[:, 2:], second.positions) and torch.equal(whole.span[:, 2:], second.span)


@given(LENGTHS, st.integers(1, 30), st.booleans())
def test_unpacking_undoes_packing(lengths, capacity, modulated):
    stream = stream_of(lengths, modulated=modulated)
    packed, where = pack(stream, capacity)
    assert packed.present.sum() == stream.present.sum()
    assert packed.vectors.shape[1] == max(capacity, int(stream.present.sum(1).max()))
    back = unpack(packed.vectors, where)
    assert torch.equal(back[stream.present], stream.vectors[stream.present])
    assert len(set(where[stream.present].tolist())) == stream.present.sum()


@given(LENGTHS, st.integers(1, 30), st.booleans(), st.booleans())
@torch.no_grad()
def test_a_packed_sample_is_read_as_an_unpacked_one(lengths, capacity, causal, modulated):
    torch.manual_seed(0)
    transformer = tiny.awake((tiny.modulated() if modulated else tiny.stack()).build())
    stream = stream_of(lengths, causal, modulated)
    packed, where = pack(stream, capacity)
    hidden, wanted = unpack(transformer(packed), where), transformer(stream)
    assert torch.allclose(hidden[stream.present], wanted[stream.present], atol=1e-5)


@given(LENGTHS)
@torch.no_grad()
def test_absent_rows_change_nothing(lengths):
    torch.manual_seed(0)
    transformer = tiny.stack().build()
    stream = stream_of(lengths)
    noisy = replace(stream, vectors=torch.where(stream.present[..., None], stream.vectors, torch.tensor(9.0)))
    assert torch.allclose(transformer(noisy)[stream.present], transformer(stream)[stream.present], atol=1e-6)


@given(LENGTHS, LENGTHS)
@torch.no_grad()
def test_piled_streams_stay_as_they_are(first, second):
    torch.manual_seed(0)
    transformer, streams = tiny.stack().build(), [stream_of(first), stream_of(second)]
    piled = pile(streams)
    assert piled.vectors.shape[0] == len(first) + len(second)
    hidden = transformer(piled)[piled.present]
    wanted = torch.cat([transformer(stream)[stream.present] for stream in streams])
    assert torch.allclose(hidden, wanted, atol=1e-5)
