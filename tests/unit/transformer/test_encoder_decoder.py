"""The encoder has only the filled positions, the decoder all; a sample does not depend on the rest of the batch."""

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
    prefix, vectors = (torch.randn(b, q, tiny.WIDTH, generator=generator) for q in (prompt, N))
    everything = torch.arange(N).expand(b, -1)
    picture = picture_span(vectors, LAYOUT, everything, torch.zeros_like(everything), False, filled)
    return text_span(prefix, torch.ones(b, prompt, dtype=torch.bool), False), picture


def beside(*spans: Span) -> Laid:
    """Sample i of every span is document i."""
    return lay([[Piece(span, index) for span in range(len(spans))] for index in range(len(spans[0].vectors))], spans)


def stream(filled: torch.Tensor, prompt: int = BUFFER, seed: int = 0) -> Stream:
    return beside(*spans(filled, prompt, seed)).stream


def sample(whole: Stream, index: int, keep: slice = slice(None)) -> Stream:
    """One sample by itself, or some of its positions."""
    names = ("vectors", "positions", "span", "step", "causal", "present", "filled")
    return Stream(**{name: getattr(whole, name)[index : index + 1, keep] for name in names})


@given(FILLED)
@torch.no_grad()
def test_the_encoder_has_the_filled_positions_as_if_there_were_no_others(filled):
    whole = stream(filled)
    encoded, chosen, there = MODEL.encode(whole)
    for index in range(len(filled)):
        alone = sample(whole, index)
        kept = alone.filled[0].nonzero()[:, 0]
        assert chosen[index][there[index]].tolist() == kept.tolist()
        position = torch.tensor([*range(BUFFER + N)])[kept]
        entered = MODEL.entry_norm(alone.vectors[:, kept] + MODEL.encoder_positions.weight[position])
        removed = MODEL.encoder(Stream(entered, alone.positions[:, kept]))
        assert torch.allclose(encoded[index][there[index]], removed[0], atol=1e-5)


@given(FILLED)
@torch.no_grad()
def test_the_decoder_has_all_positions_and_the_unfilled_ones_are_equal(filled):
    whole = stream(filled)
    encoded, chosen, there = MODEL.encode(whole)
    vectors = MODEL.unfilled.expand(len(filled), BUFFER + N, -1).clone()
    for index in range(len(filled)):
        vectors[index, chosen[index][there[index]]] = MODEL.bridge(encoded[index][there[index]])
    by_hand = MODEL.decoder(Stream(vectors + MODEL.decoder_positions.weight, whole.positions))
    assert torch.allclose(MODEL(whole), by_hand, atol=1e-5)


@given(FILLED)
@torch.no_grad()
def test_the_vector_of_an_unfilled_position_does_not_matter_and_that_of_a_filled_one_does(filled):
    whole, other = stream(filled), stream(filled, seed=1)
    filled_ones = whole.filled[..., None]
    before = MODEL(whole)
    assert torch.equal(MODEL(replace(whole, vectors=torch.where(filled_ones, whole.vectors, other.vectors))), before)
    assert not torch.allclose(MODEL(replace(whole, vectors=other.vectors)), before, atol=1e-3)


@given(FILLED)
@torch.no_grad()
def test_samples_with_unlike_numbers_of_filled_positions_come_out_as_alone(filled):
    whole = stream(filled)
    together = MODEL(whole)
    for index in range(len(filled)):
        assert torch.allclose(together[index], MODEL(sample(whole, index))[0], atol=1e-5)


@given(FILLED, st.data())
@torch.no_grad()
def test_absent_positions_are_as_if_removed(filled, data):
    whole = stream(filled)
    count = data.draw(st.integers(1, BUFFER + N - 1))
    there = torch.arange(BUFFER + N) < count
    together = MODEL(replace(whole, present=whole.present & there))
    for index in range(len(filled)):
        alone = MODEL(sample(whole, index, slice(count)))
        assert torch.allclose(together[index, :count], alone[0], atol=1e-5)


@given(FILLED, FILLED, st.integers(1, 40))
@torch.no_grad()
def test_packed_samples_come_out_as_apart(filled, more, capacity):
    batches = [*spans(filled), *spans(more, prompt=1, seed=1)]
    documents = [
        [Piece(kind, index), Piece(kind + 1, index)] for kind in (0, 2) for index in range(len(batches[kind].vectors))
    ]
    packed = lay(documents, batches, capacity=capacity)
    hidden = MODEL(packed.stream)
    assert torch.isfinite(hidden).all()
    first, second = (torch.cat([packed.unpack(hidden, kind), packed.unpack(hidden, kind + 1)], 1) for kind in (0, 2))
    assert torch.allclose(first, MODEL(stream(filled)), atol=1e-5)
    assert torch.allclose(second, MODEL(stream(more, prompt=1, seed=1)), atol=1e-5)


@torch.no_grad()
def test_a_sample_of_which_nothing_is_filled_is_drawn_from_its_positions():
    empty = stream(torch.zeros(1, N, dtype=torch.bool), prompt=0)
    vectors = MODEL.unfilled + MODEL.decoder_positions.weight[BUFFER:]
    assert torch.allclose(MODEL(empty), MODEL.decoder(Stream(vectors[None], empty.positions)), atol=1e-5)


@torch.no_grad()
def test_a_stream_without_filled_is_filled_throughout():
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
        vectors, indices = torch.zeros(1, count, tiny.WIDTH), torch.arange(count)[None]
        with pytest.raises(ValueError, match=came):
            MODEL(beside(prompt, picture_span(vectors, Layout((sizes,)), indices, indices, False)).stream)
    first = torch.zeros(1, 1, dtype=torch.long)
    outside = picture_span(torch.zeros(1, 1, tiny.WIDTH), LAYOUT, first - 1, first, False)
    with pytest.raises(ValueError, match="are 3, nan, nan"):
        MODEL(beside(prompt, outside).stream)


@torch.no_grad()
def test_a_picture_sits_behind_the_buffer_however_short_its_prompt_is():
    filled = torch.ones(1, N, dtype=torch.bool)
    prompt, picture = spans(filled, prompt=1)
    absent = replace(spans(filled)[0], present=torch.tensor([[True, False, False]]), lasts=prompt.lasts)
    absent = replace(absent, vectors=torch.cat([prompt.vectors, absent.vectors[:, 1:]], dim=1))
    short, long = beside(prompt, picture), beside(absent, picture)
    whole, padded = (each.unpack(MODEL(each.stream), 1) for each in (short, long))
    assert torch.allclose(whole, padded, atol=1e-5)
    assert MODEL._position_index(short.stream)[0].tolist() == [0, *range(BUFFER, BUFFER + N)]


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="one width, got 16 and 8"):
        config(decoder=tiny.stack(8, position=None, attention=AttentionConfig(2)))
    with pytest.raises(ValueError, match="keeps no cache"):
        MODEL.cache(1, 8)
    whole = stream(torch.ones(1, N, dtype=torch.bool))
    with pytest.raises(ValueError, match="takes no cache"):
        MODEL(whole, tiny.stack().build().cache(1, 16))
