"""The encoder sees filled positions only, the decoder all; whatever stands beside a sample, it comes out the same."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.document import Laid, Piece, Span, lay, picture_span, text_span
from kiloword.tokens import Layout
from kiloword.transformer import AttentionConfig, EncoderDecoderConfig, LayerNormConfig, RMSNormConfig, Stream

BUFFER, GRID = 3, (3, 2)
LAYOUT = Layout((GRID,))
N = LAYOUT.count


def config(**changes) -> EncoderDecoderConfig:
    """Stacks of different depth, heads and norms."""
    encoder = tiny.stack(position=None, attention=AttentionConfig(2, bias=True), norm=LayerNormConfig())
    decoder = tiny.stack(depth=1, position=None, attention=AttentionConfig(4), norm=RMSNormConfig())
    return replace(EncoderDecoderConfig(encoder, decoder, BUFFER, GRID), **changes)


torch.manual_seed(0)
MODEL = tiny.awake(config().build()).eval()
FILLED = st.lists(st.lists(st.booleans(), min_size=N, max_size=N), min_size=1, max_size=3).map(torch.tensor)


def spans(filled: torch.Tensor, prompt: int = BUFFER, seed: int = 0) -> tuple[Span, Span]:
    """A prompt and a picture for each entry of `filled` [b, n]."""
    b, generator = len(filled), torch.Generator().manual_seed(seed)
    rows, vectors = (torch.randn(b, q, tiny.WIDTH, generator=generator) for q in (prompt, N))
    everything = torch.arange(N).expand(b, -1)
    picture = picture_span(vectors, LAYOUT, everything, torch.zeros_like(everything), False, filled)
    return text_span(rows, torch.ones(b, prompt, dtype=torch.bool), False), picture


def beside(*spans: Span) -> Laid:
    """Row i of every span is document i."""
    return lay([[Piece(lot, row) for lot in range(len(spans))] for row in range(len(spans[0].vectors))], spans)


def stream(filled: torch.Tensor, prompt: int = BUFFER, seed: int = 0) -> Stream:
    return beside(*spans(filled, prompt, seed)).stream


def sample(whole: Stream, row: int, keep: slice = slice(None)) -> Stream:
    """One sample by itself, or some of its positions."""
    names = ("vectors", "positions", "span", "step", "causal", "present", "filled")
    return Stream(**{name: getattr(whole, name)[row : row + 1, keep] for name in names})


@given(FILLED)
@torch.no_grad()
def test_the_encoder_sees_filled_rows_as_if_there_were_no_others(filled):
    whole = stream(filled)
    encoded, chosen, there = MODEL.encode(whole)
    for row in range(len(filled)):
        alone = sample(whole, row)
        kept = alone.filled[0].nonzero()[:, 0]
        assert chosen[row][there[row]].tolist() == kept.tolist()
        place = torch.tensor([*range(BUFFER + N)])[kept]
        entered = MODEL.entry_norm(alone.vectors[:, kept] + MODEL.encoder_places.weight[place])
        removed = MODEL.encoder(Stream(entered, alone.positions[:, kept]))
        assert torch.allclose(encoded[row][there[row]], removed[0], atol=1e-5)


@given(FILLED)
@torch.no_grad()
def test_the_decoder_sees_all_rows_of_which_unfilled_ones_are_all_alike(filled):
    whole = stream(filled)
    encoded, chosen, there = MODEL.encode(whole)
    rows = MODEL.unfilled.expand(len(filled), BUFFER + N, -1).clone()
    for row in range(len(filled)):
        rows[row, chosen[row][there[row]]] = MODEL.bridge(encoded[row][there[row]])
    by_hand = MODEL.decoder(Stream(rows + MODEL.decoder_places.weight, whole.positions))
    assert torch.allclose(MODEL(whole), by_hand, atol=1e-5)


@given(FILLED)
@torch.no_grad()
def test_what_an_unfilled_row_holds_does_not_matter_and_what_a_filled_one_holds_does(filled):
    whole, other = stream(filled), stream(filled, seed=1)
    told = whole.filled[..., None]
    before = MODEL(whole)
    assert torch.equal(MODEL(replace(whole, vectors=torch.where(told, whole.vectors, other.vectors))), before)
    assert not torch.allclose(MODEL(replace(whole, vectors=other.vectors)), before, atol=1e-3)


@given(FILLED)
@torch.no_grad()
def test_samples_with_unlike_numbers_of_filled_rows_come_out_as_alone(filled):
    whole = stream(filled)
    together = MODEL(whole)
    for row in range(len(filled)):
        assert torch.allclose(together[row], MODEL(sample(whole, row))[0], atol=1e-5)


@given(FILLED, st.data())
@torch.no_grad()
def test_absent_rows_are_as_if_removed(filled, data):
    whole = stream(filled)
    count = data.draw(st.integers(1, BUFFER + N - 1))
    there = torch.arange(BUFFER + N) < count
    together = MODEL(replace(whole, present=whole.present & there))
    for row in range(len(filled)):
        alone = MODEL(sample(whole, row, slice(count)))
        assert torch.allclose(together[row, :count], alone[0], atol=1e-5)


@given(FILLED, FILLED, st.integers(1, 40))
@torch.no_grad()
def test_packed_samples_come_out_as_apart(filled, more, capacity):
    lots = [*spans(filled), *spans(more, prompt=1, seed=1)]
    documents = [[Piece(kind, row), Piece(kind + 1, row)] for kind in (0, 2) for row in range(len(lots[kind].vectors))]
    packed = lay(documents, lots, capacity=capacity)
    hidden = MODEL(packed.stream)
    assert torch.isfinite(hidden).all()
    first, second = (torch.cat([packed.unpack(hidden, kind), packed.unpack(hidden, kind + 1)], 1) for kind in (0, 2))
    assert torch.allclose(first, MODEL(stream(filled)), atol=1e-5)
    assert torch.allclose(second, MODEL(stream(more, prompt=1, seed=1)), atol=1e-5)


@torch.no_grad()
def test_a_sample_of_which_nothing_is_filled_is_drawn_from_its_places():
    empty = stream(torch.zeros(1, N, dtype=torch.bool), prompt=0)
    rows = MODEL.unfilled + MODEL.decoder_places.weight[BUFFER:]
    assert torch.allclose(MODEL(empty), MODEL.decoder(Stream(rows[None], empty.positions)), atol=1e-5)


@torch.no_grad()
def test_a_stream_that_says_nothing_of_its_rows_is_filled_throughout():
    whole = stream(torch.ones(2, N, dtype=torch.bool))
    plain = Stream(whole.vectors, whole.positions)
    assert torch.allclose(MODEL(plain), MODEL(whole), atol=1e-5)


@torch.no_grad()
def test_a_smaller_picture_sits_in_the_same_rows_and_columns():
    vectors, few = torch.randn(1, 3, tiny.WIDTH), torch.arange(3)[None]
    column = picture_span(vectors, Layout(((3, 1),)), few, few, False)
    prompt, _ = spans(torch.ones(1, N, dtype=torch.bool))
    alone = beside(prompt, column).stream
    whole = stream(torch.ones(1, N, dtype=torch.bool))
    picked = torch.tensor([0, 1, 2, 3, 5, 7])
    assert torch.equal(alone.positions, whole.positions[:, picked])
    assert torch.isfinite(MODEL(alone)).all()


def test_positions_outside_the_learned_ones_are_refused():
    filled = torch.ones(1, N, dtype=torch.bool)
    prompt, picture = spans(filled)
    longer, _ = spans(filled, prompt=BUFFER + 1)
    with pytest.raises(ValueError, match=r"a prompt of 3 positions and a picture of \(3, 2\) tokens.* are 3, 0, 0"):
        MODEL(beside(longer, picture).stream)
    for sizes, came in (((4, 1), "3, 3, 0"), ((2, 3), "3, 0, 2")):
        count = sizes[0] * sizes[1]
        vectors, places = torch.zeros(1, count, tiny.WIDTH), torch.arange(count)[None]
        with pytest.raises(ValueError, match=came):
            MODEL(beside(prompt, picture_span(vectors, Layout((sizes,)), places, places, False)).stream)
    first = torch.zeros(1, 1, dtype=torch.long)
    nowhere = picture_span(torch.zeros(1, 1, tiny.WIDTH), LAYOUT, first - 1, first, False)
    with pytest.raises(ValueError, match="are 3, nan, nan"):
        MODEL(beside(prompt, nowhere).stream)


@torch.no_grad()
def test_a_picture_sits_behind_the_buffer_however_short_its_prompt_is():
    filled = torch.ones(1, N, dtype=torch.bool)
    prompt, picture = spans(filled, prompt=1)
    absent = replace(spans(filled)[0], present=torch.tensor([[True, False, False]]), lasts=prompt.lasts)
    absent = replace(absent, vectors=torch.cat([prompt.vectors, absent.vectors[:, 1:]], dim=1))
    short, long = beside(prompt, picture), beside(absent, picture)
    whole, padded = (each.unpack(MODEL(each.stream), 1) for each in (short, long))
    assert torch.allclose(whole, padded, atol=1e-5)
    assert MODEL._place(short.stream)[0].tolist() == [0, *range(BUFFER, BUFFER + N)]


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="one width, got 16 and 8"):
        config(decoder=tiny.stack(8, position=None, attention=AttentionConfig(2)))
    with pytest.raises(ValueError, match="keeps no cache"):
        MODEL.cache(1, 8)
    whole = stream(torch.ones(1, N, dtype=torch.bool))
    with pytest.raises(ValueError, match="takes no cache"):
        MODEL(whole, tiny.stack().build().cache(1, 16))
