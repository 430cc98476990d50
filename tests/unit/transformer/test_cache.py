"""The cache holds for every sequence what was kept of it, whatever the lengths of the others."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.transformer import KeyValueCache
from kiloword.transformer.cache import untouched

ROWS, LAYERS = 3, 2
LENGTHS = st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS)


def fresh(capacity: int = 20) -> KeyValueCache:
    return KeyValueCache(LAYERS, ROWS, capacity, heads=1, head_dim=2)


def grow(cache: KeyValueCache, held: list[list[float]], count: int, keep: list[int], mark: float) -> None:
    """Append `count` positions to every sequence, check all that comes back, keep some."""
    new = mark + torch.arange(len(held) * count).view(-1, 1, count, 1).expand(-1, -1, -1, 2) / 100
    for layer in range(LAYERS):
        keys, values = cache.append(layer, new + layer, -new - layer)
        assert (values == -keys).all()
        for row, had in enumerate(held):
            wanted = torch.tensor(had + new[row, 0, :, 0].tolist()) + layer
            assert torch.allclose(keys[row, 0, : len(wanted), 0], wanted)
    mask = cache.mask(None, count)
    for row, had in enumerate(held):
        seen = mask[row] if mask is not None else torch.ones(count, len(had) + count, dtype=torch.bool)
        wanted = torch.arange(seen.shape[1]) < len(had) + count
        assert (seen == wanted).all()
        had += new[row, 0, : keep[row], 0].tolist()
    cache.advance(torch.tensor(keep))


@given(st.lists(LENGTHS, min_size=1, max_size=4))
def test_sequences_keep_their_own_lengths_through_appending(moves):
    cache, held = fresh(capacity=40), [[] for _ in range(ROWS)]
    for mark, keep in enumerate(moves, start=1):
        grow(cache, held, 3, keep, float(mark))
        assert cache.lengths == [len(row) for row in held]


@given(LENGTHS, st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=ROWS, unique=True))
def test_a_cache_of_some_sequences_writes_into_the_whole(keep, chosen):
    cache, held = fresh(), [[] for _ in range(ROWS)]
    grow(cache, held, 3, keep, 1.0)
    some = cache.select(chosen)
    assert some.lengths == [keep[row] for row in chosen] and some.capacity == cache.capacity
    grow(some, [held[row] for row in chosen], 2, [2] * len(chosen), 7.0)
    assert cache.lengths == keep  # until it is told
    cache.hold([len(row) for row in held])
    grow(cache, held, 1, [1] * ROWS, 3.0)


def test_a_context_is_projected_once_a_layer_as_long_as_it_is_the_same():
    cache, reads = fresh(), []

    def read(layer: int, told: torch.Tensor) -> torch.Tensor:
        return cache.cached_context(layer, told, lambda: reads.append(layer) or told + layer)

    first, second = torch.zeros(ROWS, 2), torch.ones(ROWS, 2)
    for _ in range(2):
        assert read(0, first).sum() == 0 and read(1, first).sum() == 2 * ROWS
    assert reads == [0, 1]
    assert read(0, second).sum() == 2 * ROWS and read(0, first).sum() == 0 and reads == [0, 1, 0, 0]


def test_the_mask_says_which_new_positions_attend_to_each_other():
    cache = fresh()
    grow(cache, [[] for _ in range(ROWS)], 3, [0, 1, 2], 1.0)
    causal = torch.ones(2, 2).tril().bool().expand(ROWS, -1, -1)
    mask = cache.mask(causal, 2)
    assert mask is not None and mask.shape == (ROWS, 2, 4)
    assert mask[1].tolist() == [[True, True, False, False], [True, True, True, False]]


def test_no_mask_is_needed_for_rows_of_one_length():
    cache = fresh()
    cache.advance(torch.full((ROWS,), 2))
    assert cache.mask(None, 4) is None and cache.mask(torch.ones(ROWS, 1, 1, dtype=torch.bool), 1) is None


def test_too_much_is_refused_with_numbers():
    cache = fresh(capacity=4)
    cache.advance(torch.tensor([1, 3, 2]))
    with pytest.raises(ValueError, match="room for 4 positions; 3 are held and 2 more come"):
        cache.append(0, torch.zeros(ROWS, 1, 2, 2), torch.zeros(ROWS, 1, 2, 2))


@pytest.mark.parametrize("shape", [(2, 3, 5), (1,), (0, 4), (1 << 20, 3)])
def test_untouched_memory_is_zeros_that_can_be_written(shape):
    first, second = untouched(*shape), untouched(*shape)
    assert first.shape == shape and first.dtype == torch.float32 and not first[:4].any() and not first[-4:].any()
    first.fill_(1)
    assert not second.any()
