"""The lean stack gives the hidden vectors of the stack it stands for, and stands for none that it does not know."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.engine.lean import LeanStack, lean
from kiloword.transformer import (
    AttentionConfig,
    GELUConfig,
    LayerNormConfig,
    MutedConfig,
    RMSNormConfig,
    RotaryConfig,
    Stack,
    StackConfig,
    Stream,
)

ATTENTION = [
    AttentionConfig(2), AttentionConfig(4, key_heads=2, head_dim=8), AttentionConfig(3, key_heads=1, head_dim=8),
    AttentionConfig(2, query_norm=RMSNormConfig(1e-3)),
    AttentionConfig(4, key_heads=2, head_dim=8, query_norm=RMSNormConfig(1e-3)),
]  # fmt: skip
POSITIONS = [None, RotaryConfig((2, 2, 2, 2)), MutedConfig(RotaryConfig((0, 0, 4, 4)))]


def stack(**changes) -> Stack:
    torch.manual_seed(0)
    return tiny.stack(depth=3, norm=RMSNormConfig(1e-2), **changes).build().eval()


def told(module: Stack) -> Stack:
    """With gains that are not all 1."""
    for name, parameter in module.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, -1.0, 2.0)
    return module


@given(st.sampled_from(ATTENTION), st.sampled_from(POSITIONS), st.integers(1, 3), st.integers(0, 99), st.data())
@torch.no_grad()
def test_steps_are_those_of_the_stack(attention, position, b, seed, data):
    whole = told(stack(attention=attention, position=position))
    quick = lean(whole)
    assert isinstance(quick, LeanStack) and quick.width == whole.width
    generator = torch.Generator().manual_seed(seed)
    caches = [transformer.cache(b, 12) for transformer in (whole, quick)]
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=b, max_size=b))
    for count, kept in [(5, lengths), *[(1, [1] * b)] * 3, (2, [2] * b), (1, [1] * b)]:
        vectors = torch.randn(b, count, tiny.WIDTH, generator=generator)
        places = torch.rand(b, count, 4, generator=generator) * 9
        if isinstance(position, MutedConfig):  # some rows sit nowhere
            places[..., 2:].masked_fill_(torch.rand(b, count, 1, generator=generator) < 0.5, torch.nan)
        before = vectors.clone()
        stream = Stream(vectors, places)
        one, two = whole(stream, caches[0]), quick(stream, caches[1])
        assert torch.allclose(one, two, atol=1e-4) and torch.equal(vectors, before)
        for cache in caches:
            cache.advance(torch.tensor(kept))
    assert torch.allclose(caches[0].keys, caches[1].keys, atol=1e-4)
    vectors = torch.randn(b, 1, tiny.WIDTH, generator=generator)
    assert torch.equal(quick(Stream(vectors, places[:, :1])), whole(Stream(vectors, places[:, :1])))


@pytest.mark.parametrize(
    "changes",
    [
        {"feed_forward": GELUConfig(24)}, {"norm": LayerNormConfig()}, {"attention": AttentionConfig(2, bias=True)},
        {"attention": AttentionConfig(2, query_norm=LayerNormConfig())}, {"modulation": tiny.modulated().modulation},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_other_stacks_are_left_as_they_are(changes):
    other = tiny.stack(**changes).build().eval()
    assert lean(other) is other


def test_a_stack_that_is_learning_is_left_as_it_is():
    learning = StackConfig(16, 1, AttentionConfig(2), tiny.stack().feed_forward, dropout=0.5).build()
    assert lean(learning) is learning and lean(learning.eval()) is not learning
