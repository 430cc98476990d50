"""Every token of a schedule goes from unknown to known, once, and is visited while it does."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.tokens import Schedule

SPANS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4)), min_size=1, max_size=8)


def schedule_of(spans: list[tuple[int, int]]) -> Schedule:
    start = torch.tensor([[float(start) for start, _ in spans]])
    return Schedule(start, start + torch.tensor([[float(length) for _, length in spans]]))


@given(SPANS)
def test_levels_fall_from_one_to_zero(spans):
    table = schedule_of(spans).table()
    assert table.shape == (1, schedule_of(spans).steps + 1, len(spans))
    assert torch.equal(table[0], torch.cat([schedule_of(spans).level(step) for step in range(table.shape[1])]))
    assert (table[:, 0] == 1).all() and (table[:, -1] == 0).all() and (table.diff(dim=1) <= 0).all()


@given(SPANS)
def test_tokens_are_visited_from_their_start_to_their_stop(spans):
    schedule = schedule_of(spans)
    for step in range(schedule.steps):
        wanted = [start <= step < start + length for start, length in spans]
        assert schedule.visited(step)[0].tolist() == wanted
        assert torch.equal(schedule.known(step), schedule.level(step) == 0)


def test_halfway_a_token_is_half_known():
    assert Schedule(torch.tensor([[1.0]]), torch.tensor([[3.0]])).level(2).item() == 0.5


def test_times_that_do_not_go_on_are_refused():
    with pytest.raises(ValueError, match="start at or after"):
        Schedule(torch.ones(1, 2), torch.ones(1, 2))
