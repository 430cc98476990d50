"""Every token of a layout has one position, inside the frame, and belongs to one grid."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.tokens import Layout, in_proportion

SIDES = st.integers(1, 5)
SIZES = st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=3).map(tuple)


@given(SIZES)
def test_the_grids_share_out_the_tokens(sizes):
    layout = Layout(sizes)
    indices = [index for scale in range(len(sizes)) for index in range(layout.count)[layout.part(scale)]]
    assert indices == list(range(layout.count)) and layout.part(-1) == layout.part(len(sizes) - 1)


@given(SIZES)
def test_positions_differ_and_lie_in_the_frame(sizes):
    layout = Layout(sizes)
    positions = layout.positions()
    assert len({tuple(position) for position in positions.tolist()}) == layout.count
    assert (positions[:, 1:] >= 0).all() and (positions[:, 1:] < torch.tensor(layout.frame)).all()


@given(SIZES)
def test_positions_are_counted_in_units_of_the_frame_row_by_row(sizes):
    layout = Layout(sizes, frame=(6, 12))
    for scale, (h, w) in enumerate(sizes):
        for index, position in enumerate(layout.positions()[layout.part(scale)].tolist()):
            assert position == pytest.approx([scale, index // w * 6 / h, index % w * 12 / w])


def test_positions_are_a_copy_for_each_caller():
    Layout(((2, 2),)).positions().zero_()
    assert Layout(((2, 2),)).positions().any()


def test_layouts_without_tokens_are_refused():
    with pytest.raises(ValueError, match="at least one grid"):
        Layout(())
    with pytest.raises(ValueError, match=r"\(3, 0\)"):
        Layout(((3, 0),))


@given(SIZES, SIDES, SIDES)
def test_grids_in_proportion_end_as_requested_and_stay_near_the_exact_ones(sizes, height, width):
    found = in_proportion(sizes, height, width)
    assert len(found) == len(sizes) and found[-1] == (height, width) and min(min(size) for size in found) >= 1
    assert in_proportion(sizes, *sizes[-1]) == sizes
    for (h, w), (rows, columns) in zip(sizes, found, strict=True):
        for side, exact in ((rows, h * height / sizes[-1][0]), (columns, w * width / sizes[-1][1])):
            assert side == 1 or abs(side - exact) <= 0.5


def test_halves_are_rounded_up():
    assert in_proportion(((1, 1), (3, 5), (6, 10)), 3, 5) == ((1, 1), (2, 3), (3, 5))
