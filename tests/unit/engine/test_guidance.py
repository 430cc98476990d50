"""Guidance takes its course from step to step; outside of its limits it is off, and the weights always sum to 1."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.engine.guidance import COURSES, GuidanceConfig
from kiloword.orders.masked import in_order
from kiloword.tokens import Schedule


def masked(tokens: int, steps: int, batch: int = 2) -> Schedule:
    return in_order(torch.arange(tokens).expand(batch, -1), steps)


def course(name: str, schedule: Schedule, guidance: float = 3.0, **limits) -> list[float]:
    return GuidanceConfig(name, **limits).weights(guidance, schedule)[:, 0, 0].tolist()


@given(st.sampled_from(sorted(COURSES)), st.integers(1, 20), st.integers(1, 8), st.floats(1, 9))
def test_weights_sum_to_one_and_go_from_off_to_the_whole(name, tokens, steps, guidance):
    schedule = masked(tokens, steps)
    weights = GuidanceConfig(name).weights(guidance, schedule)
    assert weights.shape == (schedule.steps, 2, 2)
    assert torch.allclose(weights.sum(1), torch.ones(schedule.steps, 2), atol=1e-5)
    first = weights[:, 0, 0]
    assert (first.diff() >= -1e-6).all() and (first >= 1).all() and (first <= guidance + 1e-5).all()
    assert torch.equal(weights[..., 0], weights[..., 1])
    assert (GuidanceConfig(name).weights(1.0, schedule) == torch.tensor([[1.0], [0.0]])).all()


def test_courses():
    assert course("constant", masked(16, 5)) == [3.0] * 5
    assert course("ramp", masked(16, 5)) == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert course("ramp", masked(4, 1)) == [1.0]


def test_what_is_known_is_counted_without_the_last_token():
    assert course("known", masked(16, 5)) == [1 + 2 * known / 16 for known in (1, 4, 7, 12, 15)]
    assert course("known", masked(1, 1)) == [1.0]


def test_outside_of_its_limits_it_is_off():
    assert course("constant", masked(16, 5), first=1, last=3) == [1, 3, 3, 3, 1]
    assert course("constant", masked(16, 5), last=0) == [3, 1, 1, 1, 1]
    assert course("known", masked(16, 5), first=4) == [1, 1, 1, 1, 1 + 2 * 15 / 16]


def test_an_unknown_course_is_refused():
    with pytest.raises(ValueError, match="constant, ramp, known, got 'cosine'"):
        GuidanceConfig("cosine")
