"""Ramps: the formula, and the ways of drawing that are points of it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.tokens import grouped, levels_at, ramps

OVERLAPS = st.one_of(st.sampled_from([0.0, 1 / 4, 1 / 3, 1 / 7, 0.1, 1.0]), st.floats(0, 1).map(lambda x: round(x, 4)))
STEPS, GROUPS = st.integers(1, 12), st.integers(1, 16)


def steps_of_all(groups: int, overlap: float, steps: int) -> int:
    """Steps until the last group is done: `steps` times 1 + overlap (groups - 1), rounded up."""
    return math.ceil(round((groups - 1) * (overlap * steps), 9) + steps)


def of_groups(groups: int, overlap: float, steps: int):
    """A unit of every group."""
    return ramps(torch.arange(groups)[None], overlap, steps)


@given(GROUPS, OVERLAPS, STEPS, st.floats(0, 1))
def test_levels_are_those_of_the_formula(groups, overlap, steps, t):
    total = 1 + overlap * (groups - 1)
    wanted = [1 - min(max(total * (1 - t) - overlap * r, 0), 1) for r in range(groups)]
    at = of_groups(groups, overlap, steps).level(total * (1 - t) * steps)[0]
    assert at.tolist() == pytest.approx(wanted, abs=1e-6)
    progress = torch.tensor([total * (1 - t)])
    learned = levels_at(progress, torch.arange(groups)[None], torch.tensor([overlap]))[0]
    assert learned.tolist() == pytest.approx(wanted, abs=1e-5)


@given(GROUPS, OVERLAPS, STEPS)
def test_all_are_done_after_as_many_steps_as_the_formula_says(groups, overlap, steps):
    schedule = of_groups(groups, overlap, steps)
    assert schedule.steps == steps_of_all(groups, overlap, steps)
    assert abs(schedule.steps - steps * (1 + overlap * (groups - 1)) - 0.5) <= 0.5 + 1e-6
    assert schedule.known(schedule.steps).all() and schedule.level(0).eq(1).all()
    assert (schedule.table().diff(dim=1) <= 0).all()


@pytest.mark.parametrize("steps, groups, overlap, wanted", [(3, 4, 1 / 3, 6), (7, 50, 1 / 7, 56), (10, 8, 0.1, 17)])
def test_rounding_makes_no_step_of_its_own(steps, groups, overlap, wanted):
    assert of_groups(groups, overlap, steps).steps == wanted == steps_of_all(groups, overlap, steps)


@given(GROUPS, STEPS)
def test_overlap_one_is_one_group_after_the_other_and_overlap_zero_all_at_once(groups, steps):
    one_by_one, at_once = of_groups(groups, 1, steps), of_groups(groups, 0, steps)
    for step in range(groups * steps):
        assert one_by_one.visited(step)[0].nonzero().tolist() == [[step // steps]]
    assert at_once.steps == steps
    assert all(at_once.level(step).unique().tolist() == pytest.approx([1 - step / steps]) for step in range(steps))


@given(st.integers(2, 6), st.integers(1, 3))
def test_rolling_works_on_a_window_whose_neighbours_differ_by_a_part_of_it(window, each):
    schedule = of_groups(3 * window, 1 / window, window * each)
    for step in range(window * each, 2 * window * each):
        at = schedule.level(step)[0]
        work = at[(at > 0) & (at < 1)]
        assert len(work) in (window - 1, window)
        assert work.diff().tolist() == pytest.approx([1 / window] * (len(work) - 1))


def test_groups_are_equal_runs_of_indices():
    index = torch.tensor([3, 0, 5, 1, 4, 2])
    assert grouped(index, 3).tolist() == [1, 0, 2, 0, 2, 1]
    assert grouped(index, 1).tolist() == [0] * 6 and grouped(index, 6).equal(index)


@pytest.mark.parametrize("groups", [0, -1, 4, 5, 7])
def test_groups_that_do_not_divide_are_refused_with_those_that_do(groups):
    with pytest.raises(ValueError, match=rf"{groups} groups do not divide 6 units evenly: choose 1, 2, 3 or 6"):
        grouped(torch.arange(6), groups)


def test_bad_ramps_are_refused():
    for overlap in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=rf"from 0 .* to 1 .*, got {overlap}"):
            ramps(torch.zeros(1, 1, dtype=torch.long), overlap, 4)
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        ramps(torch.zeros(1, 1, dtype=torch.long), 0, 0)
