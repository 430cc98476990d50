"""The fused stack gives the hidden vectors of the stack that it replaces; unknown stacks are left as they are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.engine.cpu.fused_stack import FusedStack, fused
from kiloword.transformer import (
    AdaLNConfig,
    AdaLNOutputConfig,
    AttentionConfig,
    Context,
    CrossAttentionConfig,
    GeGLUConfig,
    GELUConfig,
    HiddenGuidance,
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
        "output_modulation": AdaLNOutputConfig(),
    },
    {"output_modulation": AdaLNOutputConfig(), "attention": AttentionConfig(4, key_heads=2, head_dim=8, gain=2.0)},
    {"cross_attention": CrossAttentionConfig(4, LayerNormConfig(1e-2))},
    {"cross_attention": CrossAttentionConfig(2, RMSNormConfig(1e-2)), "modulation": AdaLNConfig()},
]  # fmt: skip
POSITIONS = [None, RotaryConfig((2, 2, 2, 2)), MutedConfig(RotaryConfig((0, 0, 4, 4)))]


def stack(**changes) -> Stack:
    torch.manual_seed(0)
    return tiny.stack(**{"depth": 3, "norm": RMSNormConfig(1e-2), **changes}).build().eval()


def randomised(module: Stack) -> Stack:
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
    run(randomised(stack(attention=attention, position=position)), b, seed, data)


@given(st.sampled_from(SHAPES), st.integers(1, 3), st.integers(0, 99), st.data())
@torch.no_grad()
def test_other_shapes_are_those_of_the_stack_too(changes, b, seed, data):
    run(randomised(stack(**{"attention": AttentionConfig(2), "position": None, **changes})), b, seed, data)


def run(whole: Stack, b: int, seed: int, data) -> None:
    """Steps of one position and of several, behind sequences of different lengths, with different conditions."""
    quick, position = fused(whole), whole.config.position
    assert isinstance(quick, FusedStack) and quick.width == whole.width
    generator = torch.Generator().manual_seed(seed)
    caches = [transformer.cache(b, 12) for transformer in (whole, quick)]
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=b, max_size=b))
    modulation = torch.randn(b, 1, tiny.WIDTH, generator=generator)
    context = context_of(whole, b, generator, data)
    for count, kept in [(5, lengths), *[(1, [1] * b)] * 3, (2, [2] * b), (1, [1] * b)]:
        if count == 2:
            modulation = torch.randn(b, 1, tiny.WIDTH, generator=generator)
        vectors = torch.randn(b, count, tiny.WIDTH, generator=generator)
        positions = torch.rand(b, count, 4, generator=generator) * 9
        if isinstance(position, MutedConfig):  # some positions have no grid cell
            positions[..., 2:].masked_fill_(torch.rand(b, count, 1, generator=generator) < 0.5, torch.nan)
        before = vectors.clone()
        stream = Stream(vectors, positions, modulation=modulation, context=context)
        one, two = whole(stream, caches[0]), quick(stream, caches[1])
        assert torch.allclose(one, two, atol=1e-4) and torch.equal(vectors, before)
        for cache in caches:
            cache.advance(torch.tensor(kept))
    assert torch.allclose(caches[0].keys, caches[1].keys, atol=1e-4)
    vectors = torch.randn(b, 1, tiny.WIDTH, generator=generator)
    alone = Stream(vectors, positions[:, :1], modulation=modulation)
    assert torch.equal(quick(alone), whole(alone))


def context_of(whole: Stack, b: int, generator: torch.Generator, data) -> Context | None:
    """Up to four positions a sample, for stacks that cross-attend; sometimes there is no context at all."""
    lengths = data.draw(st.lists(st.integers(0, 4), min_size=b, max_size=b)) if whole.cross_attends else []
    if not lengths or data.draw(st.booleans()):
        return None
    present = torch.arange(4) < torch.tensor(lengths)[:, None]
    return Context(torch.randn(b, 4, tiny.WIDTH, generator=generator), present)


@torch.no_grad()
def test_a_context_is_attended_to_projected_once_and_refused_without_cross_attention():
    reading, plain = (randomised(stack(cross_attention=across)) for across in (CrossAttentionConfig(2), None))
    read, quick = [], fused(reading)
    for block in reading.blocks:
        block.cross_attention.attention.key_values.register_forward_hook(lambda *_: read.append(1))
    vectors, positions = torch.randn(2, 1, tiny.WIDTH), torch.zeros(2, 1, 4)
    contexts = [Context(torch.randn(2, 3, tiny.WIDTH), torch.ones(2, 3, dtype=torch.bool)) for _ in range(2)]
    answers = []
    for context in (*contexts, None):
        cache = quick.cache(2, 4)
        for _ in range(3):
            answers.append(quick(Stream(vectors, positions, context=context), cache))
            cache.advance(torch.tensor([1, 1]))
    assert len(read) == 2 * len(reading.blocks)
    assert all((answers[i] - answers[j]).abs().amax() > 1e-3 for i, j in ((0, 3), (0, 6), (3, 6)))
    with pytest.raises(ValueError, match="this transformer attends to none"):
        fused(plain)(Stream(vectors, positions, context=contexts[0]), plain.cache(2, 4))


@given(st.integers(-3, 2), st.lists(st.sampled_from([1.0, 2.5, -0.5]), min_size=4, max_size=4))
@torch.no_grad()
def test_views_are_combined_after_the_same_block(block, guidance):
    whole = randomised(stack())
    weights = torch.tensor(guidance).view(2, 2)  # of two pictures, at two positions each
    between = HiddenGuidance(block, torch.stack([weights, 1 - weights]))
    generator = torch.Generator().manual_seed(1)
    vectors, positions = torch.randn(4, 2, tiny.WIDTH, generator=generator), torch.zeros(4, 2, 4)
    one, two = (t(Stream(vectors, positions, hidden_guidance=between), t.cache(4, 2)) for t in (whole, fused(whole)))
    plain = whole(Stream(vectors, positions), whole.cache(4, 2))
    assert torch.allclose(one, two, atol=1e-4)
    assert ((two - plain).abs().amax() < 1e-4) == (guidance == [1.0] * 4)


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
    assert fused(other) is other


def test_a_stack_that_is_learning_is_left_as_it_is():
    learning = StackConfig(16, 1, AttentionConfig(2), tiny.stack().feed_forward, dropout=0.5).build()
    assert fused(learning) is learning and fused(learning.eval()) is not learning
