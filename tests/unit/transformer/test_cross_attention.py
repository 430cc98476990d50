"""Cross-attention attends to the whole context of the same sample and nothing else, packed or not, cached or not."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.document import Laid, Piece, lay, text_span
from kiloword.opening import pile
from kiloword.prompts.prompt import Condition
from kiloword.transformer import Context, CrossAttentionConfig, LayerNormConfig, Slots, Stack, Stream, stacked

WIDTH, HEADS = tiny.WIDTH, 2
LENGTHS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def stack(**changes) -> Stack:
    torch.manual_seed(0)
    return tiny.awake(tiny.stack(cross_attention=CrossAttentionConfig(HEADS), **changes).build()).eval()


def context_of(lengths: list[int], seed: int = 0) -> Context:
    vectors = torch.randn(len(lengths), max(lengths), WIDTH, generator=torch.Generator().manual_seed(seed))
    return Context(vectors, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])


def laid(lengths: list[int], context: Context | None, seed: int = 1, capacity: int | None = None) -> Laid:
    """Documents of `lengths` causal positions, each attending to its context."""
    vectors = torch.randn(len(lengths), max(lengths), WIDTH, generator=torch.Generator().manual_seed(seed))
    span = text_span(vectors, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None], True)
    topics = range(len(lengths)) if context is not None else [-1] * len(lengths)
    condition = None if context is None else Condition(vectors[:, :0], span.present[:, :0], context=context)
    return lay([[Piece(0, index, topic)] for index, topic in enumerate(topics)], [span], condition, capacity)


def stream(lengths: list[int], context: Context | None, seed: int = 1) -> Stream:
    """The same, one document a sequence."""
    return laid(lengths, context, seed).stream


@torch.no_grad()
def test_it_is_softmax_attention_without_a_bias_of_keys():
    part = tiny.awake(CrossAttentionConfig(HEADS).build(WIDTH)).attention
    context, x = context_of([4, 2]), torch.randn(2, 3, WIDTH)
    plain = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    keys = part.key_values
    plain.in_proj_weight.copy_(torch.cat([part.query.weight, keys.weight]))
    plain.in_proj_bias.copy_(torch.cat([part.query.bias, torch.zeros(WIDTH), keys.value_bias]))
    plain.out_proj.load_state_dict(part.out.state_dict())
    wanted = plain(x, context.vectors, context.vectors, key_padding_mask=~context.present)[0]
    assert torch.allclose(part(x, context, context.mask(None), None, 0), wanted, atol=1e-6)


@given(LENGTHS, st.data())
@torch.no_grad()
def test_a_sample_attends_to_its_context_packed_or_alone(counts, data):
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=len(counts), max_size=len(counts)))
    if not max(lengths):
        lengths[0] = 1
    network, context = stack(), context_of(lengths)
    whole, packed = laid(counts, context), laid(counts, context, capacity=6)
    together, again = (each.unpack(network(each.stream), 0) for each in (whole, packed))
    for index, (count, length) in enumerate(zip(counts, lengths, strict=True)):
        one = Context(context.vectors[index : index + 1, :length], context.present[index : index + 1, :length])
        span = text_span(whole.stream.vectors[index : index + 1, :count], torch.ones(1, count).bool(), True)
        condition = Condition(span.vectors[:, :0], span.present[:, :0], context=one)
        alone = lay([[Piece(0, 0, 0)]], [span], condition).stream
        for found in (together, again):
            assert torch.allclose(found[index, :count], network(alone)[0], atol=1e-5)


@torch.no_grad()
def test_an_empty_context_is_as_none():
    network, none = stack(), context_of([3, 2])
    without = network(stream([3, 2], None))
    assert torch.allclose(network(stream([3, 2], replace(none, present=none.present & False))), without, atol=1e-6)
    assert not torch.allclose(network(stream([3, 2], none)), without, atol=1e-2)


@torch.no_grad()
def test_absent_positions_do_not_count_and_present_ones_all_do():
    network, context = stack(), context_of([4, 2])
    before = network(stream([2, 2], context))
    for sample, position in ((0, 0), (0, 3), (1, 1), (1, 3)):
        vectors = context.vectors.clone()
        vectors[sample, position] += 1
        moved = (network(stream([2, 2], replace(context, vectors=vectors))) - before).abs().amax((1, 2)) > 1e-4
        assert moved[sample] == context.present[sample, position] and not moved[1 - sample]


@torch.no_grad()
def test_a_cache_projects_the_context_once():
    network, context = stack(), context_of([4, 2])
    whole, calls = network(stream([3, 3], context)), []
    projections = [block.cross_attention.attention.key_values for block in network.blocks]
    hooks = [part.register_forward_hook(lambda *_: calls.append(1)) for part in projections]
    slots, found, line = Slots(network.cache), [], stream([3, 3], context)
    mine = slots.put(2, 3)
    names = ("vectors", "positions", "span", "step", "causal", "present", "filled", "topic")
    for index in range(3):
        now = replace(line, **{name: getattr(line, name)[:, index : index + 1] for name in names})
        found.append(network(now, slots.at(mine)))
        slots.keep(mine, torch.ones(2, dtype=torch.long))
    assert torch.allclose(torch.cat(found, 1), whole, atol=1e-5) and len(calls) == len(network.blocks)
    twins = slots.fork([1, 1, 0])
    slots.rewind(twins, [2] * 3)  # the last position once more, which attends to the contexts that are passed
    copied = [1, 1, 0]
    copies = Stream(
        now.vectors[copied], now.positions[copied], context=Context(context.vectors[copied], context.present[copied])
    )
    assert torch.allclose(network(copies, slots.at(twins)), whole[copied, 2:], atol=1e-5)
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def test_streams_without_a_context_batch_with_those_that_have_one():
    network, context = stack(), context_of([3, 2])
    first, second = stream([2, 3], context), stream([4], None, seed=2)
    piled = network(pile([first, second]))
    assert torch.allclose(piled[:2, :3], network(first), atol=1e-5)
    assert torch.allclose(piled[2:], network(second), atol=1e-5)
    assert stacked([None, None], [1, 2]) is None


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="this transformer attends to none"):
        tiny.stack().build()(stream([2], context_of([2])))
    with pytest.raises(ValueError, match="width 16 is not a multiple of 3 heads"):
        CrossAttentionConfig(3).build(WIDTH)
    with pytest.raises(ValueError, match="at least one head, got 0"):
        CrossAttentionConfig(0, LayerNormConfig())
    with pytest.raises(ValueError, match="has no cross-attention"):
        tiny.MAR.build()(stream([2], context_of([2])))
