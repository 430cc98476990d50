"""A query index: the hidden vectors at its positions are those that they have among all."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.transformer import (
    AdaLNConfig,
    AdaLNOutputConfig,
    AttentionConfig,
    Context,
    CrossAttentionConfig,
    EncoderDecoderConfig,
    HiddenGuidance,
    RotaryConfig,
    RowPattern,
    Stream,
)

B, T = 2, 5
SHAPES = {
    "plain": {}, "grouped": {"attention": AttentionConfig(4, key_heads=2, head_dim=8)},
    "rotary": {"position": RotaryConfig((2, 2, 2, 2))}, "patterned": {"patterns": (RowPattern(),)},
    "modulated": {"modulation": AdaLNConfig(), "output_modulation": AdaLNOutputConfig()},
    "cross_attention": {"cross_attention": CrossAttentionConfig(2)},
}  # fmt: skip
INDEX = st.lists(st.integers(0, T - 1), min_size=2, max_size=2 * T).map(
    lambda index: torch.tensor(index[: len(index) // B * B]).view(B, -1)
)


def stream(seed: int, spans: bool, modulations: int | None) -> Stream:
    """With full attention, or of two spans, the second causal; `modulations`: 1 for all positions, one each, or
    None."""
    generator = torch.Generator().manual_seed(seed)
    vectors, positions = (torch.randn(B, T, size, generator=generator) for size in (tiny.WIDTH, 4))
    modulation = None if modulations is None else torch.randn(B, modulations, tiny.WIDTH, generator=generator)
    plain = Stream(vectors, positions.abs().floor(), modulation=modulation)
    span = torch.tensor([0, 0, 1, 1, 1]).expand(B, -1)
    laid = replace(plain, span=span, step=torch.arange(T).expand(B, -1), causal=span == 1)
    return replace(laid, present=torch.arange(T) != 1 + torch.arange(B)[:, None]) if spans else plain


def check(transformer: torch.nn.Module, whole: Stream, query_index: torch.Tensor) -> None:
    hidden = transformer(whole)
    wanted = hidden[torch.arange(B)[:, None], query_index]
    assert torch.allclose(transformer(replace(whole, query_index=query_index)), wanted, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@given(INDEX, st.booleans(), st.sampled_from([1, T]), st.integers(0, 99))
@torch.no_grad()
def test_they_are_those_of_the_whole(shape, query_index, spans, modulations, seed):
    torch.manual_seed(0)
    transformer = tiny.awake(tiny.stack(**{"position": None, **SHAPES[shape]}).build()).eval()
    whole = stream(seed, spans, modulations if shape == "modulated" else None)
    if transformer.cross_attends:
        generator = torch.Generator().manual_seed(seed)
        context = Context(torch.randn(B, 3, tiny.WIDTH, generator=generator), torch.ones(B, 3, dtype=torch.bool))
        whole = replace(whole, context=context)
    check(transformer, whole, query_index)
    weights = torch.tensor([[2.0], [-1.0]]).unsqueeze(-1).expand(2, 1, T)  # of one picture in two views
    check(transformer, replace(whole, hidden_guidance=HiddenGuidance(-1, weights)), query_index)


@given(INDEX, st.integers(0, 99))
@torch.no_grad()
def test_those_of_an_encoder_decoder_too(query_index, seed):
    torch.manual_seed(0)
    stacks = [tiny.stack(position=None) for _ in range(2)]
    transformer = tiny.awake(EncoderDecoderConfig(*stacks, 2, (1, 3)).build()).eval()
    whole = stream(seed, True, None)
    positions = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0], [2, 0, 0, 1], [2, 0, 0, 2]]).float()
    filled = torch.rand(B, T, generator=torch.Generator().manual_seed(seed)) < 0.7
    check(transformer, replace(whole, positions=positions.expand(B, -1, -1), filled=filled), query_index)


@given(INDEX, st.integers(0, 99))
@torch.no_grad()
def test_behind_a_cache_too(query_index, seed):
    torch.manual_seed(0)
    transformer = tiny.stack(position=None).build().eval()
    whole, hidden = stream(seed, False, None), []
    for index in (None, query_index):
        cache = transformer.cache(B, 2 * T)
        transformer(whole, cache)
        cache.advance(torch.tensor([T, 2]))
        hidden.append(transformer(replace(whole, query_index=index), cache))
    assert torch.allclose(hidden[1], hidden[0][torch.arange(B)[:, None], query_index], atol=1e-5)
