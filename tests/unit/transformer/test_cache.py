"""The cache holds for every sequence what was kept of it, whatever the lengths of the others."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.transformer import KeyValueCache
from kiloword.transformer.cache import untouched

BATCH, LAYERS = 3, 2
LENGTHS = st.lists(st.integers(0, 3), min_size=BATCH, max_size=BATCH)


def fresh(capacity: int = 20) -> KeyValueCache:
    return KeyValueCache(LAYERS, BATCH, capacity, heads=1, head_dim=2)


def grow(cache: KeyValueCache, held: list[list[float]], count: int, keep: list[int], mark: float) -> None:
    """Append `count` positions to every sequence, check all that comes back, keep some."""
    new = mark + torch.arange(len(held) * count).view(-1, 1, count, 1).expand(-1, -1, -1, 2) / 100
    for layer in range(LAYERS):
        keys, values = cache.append(layer, new + layer, -new - layer)
        assert (values == -keys).all()
        for i, had in enumerate(held):
            wanted = torch.tensor(had + new[i, 0, :, 0].tolist()) + layer
            assert torch.allclose(keys[i, 0, : len(wanted), 0], wanted)
    mask = cache.mask(None, count)
    for i, had in enumerate(held):
        allowed = mask[i] if mask is not None else torch.ones(count, len(had) + count, dtype=torch.bool)
        wanted = torch.arange(allowed.shape[1]) < len(had) + count
        assert (allowed == wanted).all()
        had += new[i, 0, : keep[i], 0].tolist()
    cache.advance(torch.tensor(keep))


@given(st.lists(LENGTHS, min_size=1, max_size=4))
def test_sequences_keep_separate_lengths_through_appending(moves):
    cache, held = fresh(capacity=40), [[] for _ in range(BATCH)]
    for mark, keep in enumerate(moves, start=1):
        grow(cache, held, 3, keep, float(mark))
        assert cache.lengths == [len(values) for values in held]


@given(LENGTHS, st.lists(st.integers(0, BATCH - 1), min_size=1, max_size=BATCH, unique=True))
def test_a_cache_of_some_sequences_writes_into_the_whole(keep, chosen):
    cache, held = fresh(), [[] for _ in range(BATCH)]
    grow(cache, held, 3, keep, 1.0)
    some = cache.select(chosen)
    assert some.lengths == [keep[i] for i in chosen] and some.capacity == cache.capacity
    grow(some, [held[i] for i in chosen], 2, [2] * len(chosen), 7.0)
    assert cache.lengths == keep  # until `hold` is called
    cache.hold([len(values) for values in held])
    grow(cache, held, 1, [1] * BATCH, 3.0)


def test_a_context_is_projected_once_a_layer_as_long_as_it_is_the_same():
    cache, calls = fresh(), []

    def projected(layer: int, context: torch.Tensor) -> torch.Tensor:
        return cache.cached_context(layer, context, lambda: calls.append(layer) or context + layer)

    first, second = torch.zeros(BATCH, 2), torch.ones(BATCH, 2)
    for _ in range(2):
        assert projected(0, first).sum() == 0 and projected(1, first).sum() == 2 * BATCH
    assert calls == [0, 1]
    assert projected(0, second).sum() == 2 * BATCH and projected(0, first).sum() == 0 and calls == [0, 1, 0, 0]


def test_the_mask_says_which_new_positions_attend_to_each_other():
    cache = fresh()
    grow(cache, [[] for _ in range(BATCH)], 3, [0, 1, 2], 1.0)
    causal = torch.ones(2, 2).tril().bool().expand(BATCH, -1, -1)
    mask = cache.mask(causal, 2)
    assert mask is not None and mask.shape == (BATCH, 2, 4)
    assert mask[1].tolist() == [[True, True, False, False], [True, True, True, False]]


def test_no_mask_is_needed_for_sequences_of_one_length():
    cache = fresh()
    cache.advance(torch.full((BATCH,), 2))
    assert cache.mask(None, 4) is None and cache.mask(torch.ones(BATCH, 1, 1, dtype=torch.bool), 1) is None


def test_too_much_is_refused_with_numbers():
    cache = fresh(capacity=4)
    cache.advance(torch.tensor([1, 3, 2]))
    with pytest.raises(ValueError, match="capacity of 4 positions; 3 are held and 2 more come"):
        cache.append(0, torch.zeros(BATCH, 1, 2, 2), torch.zeros(BATCH, 1, 2, 2))


@pytest.mark.parametrize("shape", [(2, 3, 5), (1,), (0, 4), (1 << 20, 3)])
def test_untouched_memory_is_zeros_that_can_be_written(shape):
    first, second = untouched(*shape), untouched(*shape)
    assert first.shape == shape and first.dtype == torch.float32 and not first[:4].any() and not first[-4:].any()
    first.fill_(1)
    assert not second.any()
