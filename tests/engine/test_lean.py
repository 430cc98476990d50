"""The lean stack gives the hidden vectors of the stack it stands for, and stands for none that it does not know."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.engine.lean import LeanStack, lean
from kiloword.transformer import (
    AdaLNConfig,
    AdaLNExitConfig,
    AttentionConfig,
    GeGLUConfig,
    GELUConfig,
    LayerNormConfig,
    MutedConfig,
    RMSNormConfig,
    RotaryConfig,
    RowPattern,
    SharedAdaLNConfig,
    Stack,
    StackConfig,
    Stream,
    UnitConfig,
)

ATTENTION = [
    AttentionConfig(2), AttentionConfig(4, key_heads=2, head_dim=8), AttentionConfig(3, key_heads=1, head_dim=8),
    AttentionConfig(2, query_norm=RMSNormConfig(1e-3)),
    AttentionConfig(4, key_heads=2, head_dim=8, query_norm=RMSNormConfig(1e-3)),
]  # fmt: skip
SHAPES = [
    {}, {"attention": AttentionConfig(2, bias=True)}, {"feed_forward": GELUConfig(24, "quick", bias=False)},
    {"feed_forward": GELUConfig(24, "none"), "norm": LayerNormConfig(1e-2), "modulation": AdaLNConfig()},
    {
        "attention": AttentionConfig(2, bias=True, key_bias=False, query_norm=UnitConfig(), gain=0.5),
        "feed_forward": GELUConfig(24), "norm": LayerNormConfig(1e-2, affine=False), "modulation": SharedAdaLNConfig(),
        "exit_modulation": AdaLNExitConfig(),
    },
    {"exit_modulation": AdaLNExitConfig(), "attention": AttentionConfig(4, key_heads=2, head_dim=8, gain=2.0)},
]  # fmt: skip
POSITIONS = [None, RotaryConfig((2, 2, 2, 2)), MutedConfig(RotaryConfig((0, 0, 4, 4)))]


def stack(**changes) -> Stack:
    torch.manual_seed(0)
    return tiny.stack(**{"depth": 3, "norm": RMSNormConfig(1e-2), **changes}).build().eval()


def told(module: Stack) -> Stack:
    """With gains that are not all 1, and biases and modulations that are not all 0."""
    for name, parameter in module.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, -1.0, 2.0)
        elif not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return module


@given(st.sampled_from(ATTENTION), st.sampled_from(POSITIONS), st.integers(1, 3), st.integers(0, 99), st.data())
@torch.no_grad()
def test_steps_are_those_of_the_stack(attention, position, b, seed, data):
    run(told(stack(attention=attention, position=position)), b, seed, data)


@given(st.sampled_from(SHAPES), st.integers(1, 3), st.integers(0, 99), st.data())
@torch.no_grad()
def test_other_shapes_are_those_of_the_stack_too(changes, b, seed, data):
    run(told(stack(**{"attention": AttentionConfig(2), "position": None, **changes})), b, seed, data)


def run(whole: Stack, b: int, seed: int, data) -> None:
    """Steps of one row and of several, behind rows of different lengths, told different things on the way."""
    quick, position = lean(whole), whole.config.position
    assert isinstance(quick, LeanStack) and quick.width == whole.width
    generator = torch.Generator().manual_seed(seed)
    caches = [transformer.cache(b, 12) for transformer in (whole, quick)]
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=b, max_size=b))
    modulation = torch.randn(b, 1, tiny.WIDTH, generator=generator)
    for count, kept in [(5, lengths), *[(1, [1] * b)] * 3, (2, [2] * b), (1, [1] * b)]:
        if count == 2:
            modulation = torch.randn(b, 1, tiny.WIDTH, generator=generator)
        vectors = torch.randn(b, count, tiny.WIDTH, generator=generator)
        places = torch.rand(b, count, 4, generator=generator) * 9
        if isinstance(position, MutedConfig):  # some rows sit nowhere
            places[..., 2:].masked_fill_(torch.rand(b, count, 1, generator=generator) < 0.5, torch.nan)
        before = vectors.clone()
        stream = Stream(vectors, places, modulation=modulation)
        one, two = whole(stream, caches[0]), quick(stream, caches[1])
        assert torch.allclose(one, two, atol=1e-4) and torch.equal(vectors, before)
        for cache in caches:
            cache.advance(torch.tensor(kept))
    assert torch.allclose(caches[0].keys, caches[1].keys, atol=1e-4)
    vectors = torch.randn(b, 1, tiny.WIDTH, generator=generator)
    alone = Stream(vectors, places[:, :1], modulation=modulation)
    assert torch.equal(quick(alone), whole(alone))


@pytest.mark.parametrize(
    "changes",
    [
        {"feed_forward": GeGLUConfig(24)}, {"attention": AttentionConfig(2, query_norm=LayerNormConfig())},
        {"patterns": (RowPattern(),)},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_other_stacks_are_left_as_they_are(changes):
    other = tiny.stack(**changes).build().eval()
    assert lean(other) is other


def test_a_stack_that_is_learning_is_left_as_it_is():
    learning = StackConfig(16, 1, AttentionConfig(2), tiny.stack().feed_forward, dropout=0.5).build()
    assert lean(learning) is learning and lean(learning.eval()) is not learning
