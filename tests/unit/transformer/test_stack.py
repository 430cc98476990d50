"""A stack gives each position what its past allows: read in pieces through a cache, or whole, it is the same."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.transformer import AttentionConfig, LayerNormConfig, Stream, SwiGLUConfig

STACKS = [
    tiny.stack(),
    tiny.stack(attention=AttentionConfig(2), norm=LayerNormConfig(), feed_forward=SwiGLUConfig(8)),
    tiny.stack(position=None, attention=AttentionConfig(4, 2)),
]
FIELDS = ("vectors", "positions", "span", "step", "causal", "present")


def causal_stream(batch: int, count: int) -> Stream:
    generator = torch.Generator().manual_seed(count)
    time = torch.arange(count).expand(batch, -1)
    positions = torch.zeros(batch, count, 4)
    positions[..., 0] = time
    return Stream(
        torch.randn(batch, count, tiny.WIDTH, generator=generator), positions, span=torch.zeros_like(time),
        step=time, causal=torch.ones_like(time, dtype=torch.bool), present=torch.ones_like(time, dtype=torch.bool),
    )  # fmt: skip


def piece(stream: Stream, part: slice) -> Stream:
    return replace(stream, **{name: getattr(stream, name)[:, part] for name in FIELDS})


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(0, len(STACKS) - 1))
@torch.no_grad()
def test_pieces_through_a_cache_equal_the_whole(counts, which):
    torch.manual_seed(0)
    stack, whole = STACKS[which].build(), causal_stream(2, sum(counts))
    cache, pieces, start = stack.cache(2, sum(counts)), [], 0
    for count in counts:
        pieces.append(stack(piece(whole, slice(start, start + count)), cache))
        cache.advance(torch.full((2,), count))
        start += count
    assert torch.allclose(torch.cat(pieces, 1), stack(whole), atol=1e-5)


@torch.no_grad()
def test_what_is_not_kept_leaves_no_trace():
    torch.manual_seed(0)
    stack, whole = STACKS[0].build(), causal_stream(2, 5)
    cache = stack.cache(2, 8)
    stack(piece(whole, slice(0, 3)), cache)
    cache.advance(torch.tensor([3, 3]))
    stack(causal_stream(2, 2), cache)  # looked at, not kept
    assert torch.allclose(stack(piece(whole, slice(3, 5)), cache), stack(whole)[:, 3:], atol=1e-5)


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="got 16 and 0"):
        tiny.stack(depth=0)
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1"):
        tiny.stack(dropout=1.0)
