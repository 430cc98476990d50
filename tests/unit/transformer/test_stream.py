"""Who attends to whom: the law of `visible`, written out position by position."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.transformer import Stream, visible

POSITION = st.tuples(
    st.integers(0, 1), st.integers(0, 2), st.integers(0, 3), st.booleans(), st.booleans()
)  # sample, span, step, causal, present


def stream_of(positions: list) -> Stream:
    sample, span, step, causal, present = (torch.tensor([column]) for column in zip(*positions, strict=True))
    t = len(positions)
    return Stream(torch.zeros(1, t, 2), torch.zeros(1, t, 4), sample, span, step, causal, present)


@given(st.lists(POSITION, min_size=1, max_size=8))
def test_a_position_attends_to_what_the_law_says(positions):
    mask = visible(stream_of(positions))
    assert mask is not None
    for i, (sample_i, span_i, step_i, causal_i, _) in enumerate(positions):
        for j, (sample_j, span_j, step_j, _, present_j) in enumerate(positions):
            earlier = span_j < span_i or (span_j == span_i and (step_j <= step_i or not causal_i))
            assert mask[0, i, j].item() == (i == j or (present_j and sample_i == sample_j and earlier))


def test_without_spans_attention_is_full():
    assert visible(Stream(torch.zeros(1, 3, 2), torch.zeros(1, 3, 4))) is None
