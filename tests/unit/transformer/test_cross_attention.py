"""Cross-attention reads the context of its own sample, all of it and nothing else, packed or not, cached or not."""

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


def context(lengths: list[int], seed: int = 0) -> Context:
    vectors = torch.randn(len(lengths), max(lengths), WIDTH, generator=torch.Generator().manual_seed(seed))
    return Context(vectors, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])


def laid(lengths: list[int], told: Context | None, seed: int = 1, capacity: int | None = None) -> Laid:
    """Causal positions, so many of each document, which listens to its own memory."""
    vectors = torch.randn(len(lengths), max(lengths), WIDTH, generator=torch.Generator().manual_seed(seed))
    span = text_span(vectors, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None], True)
    topics = range(len(lengths)) if told is not None else [-1] * len(lengths)
    condition = None if told is None else Condition(vectors[:, :0], span.present[:, :0], context=told)
    return lay([[Piece(0, row, topic)] for row, topic in enumerate(topics)], [span], condition, capacity)


def stream(lengths: list[int], told: Context | None, seed: int = 1) -> Stream:
    """The same, a sequence each."""
    return laid(lengths, told, seed).stream


@torch.no_grad()
def test_it_is_softmax_attention_without_a_bias_of_keys():
    part = tiny.awake(CrossAttentionConfig(HEADS).build(WIDTH)).attention
    told, x = context([4, 2]), torch.randn(2, 3, WIDTH)
    plain = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    keys = part.key_values
    plain.in_proj_weight.copy_(torch.cat([part.query.weight, keys.weight]))
    plain.in_proj_bias.copy_(torch.cat([part.query.bias, torch.zeros(WIDTH), keys.value_bias]))
    plain.out_proj.load_state_dict(part.out.state_dict())
    wanted = plain(x, told.vectors, told.vectors, key_padding_mask=~told.present)[0]
    assert torch.allclose(part(x, told, told.mask(None), None, 0), wanted, atol=1e-6)


@given(LENGTHS, st.data())
@torch.no_grad()
def test_a_sample_hears_its_own_memory_packed_or_alone(rows, data):
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=len(rows), max_size=len(rows)))
    if not max(lengths):
        lengths[0] = 1
    network, told = stack(), context(lengths)
    whole, packed = laid(rows, told), laid(rows, told, capacity=6)
    together, again = (each.unpack(network(each.stream), 0) for each in (whole, packed))
    for index, (count, heard) in enumerate(zip(rows, lengths, strict=True)):
        one = Context(told.vectors[index : index + 1, :heard], told.present[index : index + 1, :heard])
        span = text_span(whole.stream.vectors[index : index + 1, :count], torch.ones(1, count).bool(), True)
        condition = Condition(span.vectors[:, :0], span.present[:, :0], context=one)
        alone = lay([[Piece(0, 0, 0)]], [span], condition).stream
        for found in (together, again):
            assert torch.allclose(found[index, :count], network(alone)[0], atol=1e-5)


@torch.no_grad()
def test_nothing_to_hear_is_no_memory_at_all():
    network, none = stack(), context([3, 2])
    without = network(stream([3, 2], None))
    assert torch.allclose(network(stream([3, 2], replace(none, present=none.present & False))), without, atol=1e-6)
    assert not torch.allclose(network(stream([3, 2], none)), without, atol=1e-2)


@torch.no_grad()
def test_absent_rows_do_not_count_and_present_ones_all_do():
    network, told = stack(), context([4, 2])
    before = network(stream([2, 2], told))
    for row, place in ((0, 0), (0, 3), (1, 1), (1, 3)):
        vectors = told.vectors.clone()
        vectors[row, place] += 1
        moved = (network(stream([2, 2], replace(told, vectors=vectors))) - before).abs().amax((1, 2)) > 1e-4
        assert moved[row] == told.present[row, place] and not moved[1 - row]


@torch.no_grad()
def test_a_cache_reads_the_memory_once():
    network, told = stack(), context([4, 2])
    whole, reads = network(stream([3, 3], told)), []
    read = [block.cross_attention.attention.key_values for block in network.blocks]
    hooks = [part.register_forward_hook(lambda *_: reads.append(1)) for part in read]
    slots, found, line = Slots(network.cache), [], stream([3, 3], told)
    mine = slots.put(2, 3)
    names = ("vectors", "positions", "span", "step", "causal", "present", "filled", "topic")
    for place in range(3):
        now = replace(line, **{name: getattr(line, name)[:, place : place + 1] for name in names})
        found.append(network(now, slots.at(mine)))
        slots.keep(mine, torch.ones(2, dtype=torch.long))
    assert torch.allclose(torch.cat(found, 1), whole, atol=1e-5) and len(reads) == len(network.blocks)
    twins = slots.fork([1, 1, 0])
    slots.rewind(twins, [2] * 3)  # the last position once more, which reads the memory that its rows are told
    rows = [1, 1, 0]
    copies = Stream(now.vectors[rows], now.positions[rows], context=Context(told.vectors[rows], told.present[rows]))
    assert torch.allclose(network(copies, slots.at(twins)), whole[rows, 2:], atol=1e-5)
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def test_streams_without_a_memory_may_stand_beside_those_that_have_one():
    network, told = stack(), context([3, 2])
    first, second = stream([2, 3], told), stream([4], None, seed=2)
    piled = network(pile([first, second]))
    assert torch.allclose(piled[:2, :3], network(first), atol=1e-5)
    assert torch.allclose(piled[2:], network(second), atol=1e-5)
    assert stacked([None, None], [1, 2]) is None


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="this transformer attends to none"):
        tiny.stack().build()(stream([2], context([2])))
    with pytest.raises(ValueError, match="width 16 is not a multiple of 3 heads"):
        CrossAttentionConfig(3).build(WIDTH)
    with pytest.raises(ValueError, match="at least one head, got 0"):
        CrossAttentionConfig(0, LayerNormConfig())
    with pytest.raises(ValueError, match="has no cross-attention"):
        tiny.MAR.build()(stream([2], context([2])))
