"""A pattern chooses within one grid of one picture; text and positions without y and x are visible to all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.transformer import (
    ColumnPattern,
    ConvolutionPattern,
    FullPattern,
    KeyValueCache,
    RowPattern,
    Slots,
    Stream,
    WrappedRowPattern,
)
from kiloword.transformer.pattern import allowed, masks_by_layer

PATTERNS = [FullPattern(), RowPattern(), WrappedRowPattern(), ColumnPattern(), ConvolutionPattern(1)]


def grid(rows: int, columns: int, time: float = 0.0, scale: float = 0.0) -> torch.Tensor:
    """The positions of a picture: [1, rows columns, 4]."""
    axes = torch.tensor([time]), torch.tensor([scale]), torch.arange(rows).float(), torch.arange(columns).float()
    return torch.cartesian_prod(*axes)[None]


@given(st.integers(1, 5), st.integers(1, 5))
def test_the_paper_counts_back_as_far_as_the_token_above(rows, columns):
    """Figure 11a: each token attends to the last `columns` tokens and itself, in raster order."""
    positions = grid(rows, columns)
    mask = allowed(WrappedRowPattern(), positions, positions)[0].tril()
    n = torch.arange(rows * columns)
    back = n[:, None] - n[None]
    assert torch.equal(mask, (back >= 0) & (back <= columns))


def test_rows_columns_and_convolutions_are_what_they_are_called():
    positions = grid(3, 4)
    picture = {p: allowed(p, positions, positions)[0, 5].view(3, 4).int().tolist() for p in PATTERNS}
    assert picture[RowPattern()] == [[0] * 4, [1] * 4, [0] * 4]
    assert picture[ColumnPattern()] == [[0, 1, 0, 0]] * 3
    assert picture[ConvolutionPattern(1)] == [[1, 1, 1, 0]] * 3
    assert picture[FullPattern()] == [[1] * 4] * 3
    assert allowed(ConvolutionPattern(0), positions, positions)[0].equal(torch.eye(12, dtype=torch.bool))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: type(pattern).__name__)
def test_words_other_grids_and_positions_outside_of_grids_are_always_visible(pattern):
    outside = torch.full((1, 1, 4), torch.nan)
    outside[..., :2] = 3.0
    words = torch.zeros(1, 2, 4)
    words[0, :, 0] = torch.arange(2)
    coarse, fine = grid(1, 1, time=3.0), grid(2, 2, time=3.0, scale=1.0)
    positions = torch.cat([words, outside, coarse, fine], dim=1)
    mask = allowed(pattern, positions, positions)[0]
    assert mask[:, :4].all() and mask[:4].all() and mask.diagonal().all()


def test_patterns_are_cycled_and_narrow_the_mask():
    positions, mask = grid(2, 2), torch.ones(1, 4, 4, dtype=torch.bool).tril()
    masks = masks_by_layer((RowPattern(), ColumnPattern()), 3, mask, positions, positions)
    assert masks[0] is masks[2] and torch.equal(masks[0], mask & allowed(RowPattern(), positions, positions))
    assert torch.equal(masks[1], mask & allowed(ColumnPattern(), positions, positions))
    free = masks_by_layer((RowPattern(),), 1, None, positions, positions)
    assert torch.equal(free[0], allowed(RowPattern(), positions, positions))


@pytest.mark.parametrize("pattern", PATTERNS[1:], ids=lambda pattern: type(pattern).__name__)
@torch.no_grad()
def test_positions_held_by_sequences_of_different_lengths_are_forked_and_rewound_with_their_keys(pattern):
    """Sequence 0 keeps three of four positions, sequence 1 all four; a fork that goes back goes on as the whole
    would."""
    torch.manual_seed(0)
    stack = tiny.stack(patterns=(pattern,), position=None).build().eval()
    positions, vectors = grid(3, 2).repeat(2, 1, 1), torch.randn(2, 6, tiny.WIDTH)
    step = torch.arange(6).expand(2, -1)
    causal = torch.ones(2, 6, dtype=torch.bool)

    def part(sequences, start, stop):
        cut = (sequences, slice(start, stop))
        return Stream(vectors[cut], positions[cut], None, torch.zeros_like(step)[cut], step[cut], causal[cut])

    whole, slots = stack(part(slice(0, 2), 0, 6)), Slots(stack.cache)
    stack(part(slice(0, 2), 0, 4), slots.at(slots.put(2, 9)))
    slots.keep([0, 1], torch.tensor([3, 4]))
    ragged = Stream(
        torch.stack([vectors[0, 3:4], vectors[1, 4:5]]), torch.stack([positions[0, 3:4], positions[1, 4:5]])
    )
    now = stack(ragged, slots.at(slots.fork([0, 1])))
    assert torch.allclose(now[0, 0], whole[0, 3], atol=1e-5) and torch.allclose(now[1, 0], whole[1, 4], atol=1e-5)
    twin = slots.fork([1])
    slots.rewind(twin, [2])
    assert torch.allclose(stack(part(slice(1, 2), 2, 6), slots.at(twin)), whole[1:, 2:], atol=1e-5)


def test_a_cache_without_coordinates_is_no_cache_for_patterns():
    cache = KeyValueCache(1, 1, 4, heads=1, head_dim=2)
    cache.advance(torch.tensor([1]))
    with pytest.raises(AssertionError, match="without their coordinates"):
        cache.append_positions(torch.zeros(1, 1, 4))
    with pytest.raises(ValueError, match="radius is at least 0, got -1"):
        ConvolutionPattern(-1)
