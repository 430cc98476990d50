"""Who attends to whom: the law of `visible`, spelled out place by place."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.transformer import Stream, visible

PLACE = st.tuples(
    st.integers(0, 1), st.integers(0, 2), st.integers(0, 3), st.booleans(), st.booleans()
)  # sample, span, step, causal, present


def stream_of(places: list) -> Stream:
    sample, span, step, causal, present = (torch.tensor([column]) for column in zip(*places, strict=True))
    t = len(places)
    return Stream(torch.zeros(1, t, 2), torch.zeros(1, t, 4), sample, span, step, causal, present)


@given(st.lists(PLACE, min_size=1, max_size=8))
def test_a_place_sees_what_the_law_says(places):
    seen = visible(stream_of(places))
    assert seen is not None
    for i, (sample_i, span_i, step_i, causal_i, _) in enumerate(places):
        for j, (sample_j, span_j, step_j, _, present_j) in enumerate(places):
            earlier = span_j < span_i or (span_j == span_i and (step_j <= step_i or not causal_i))
            assert seen[0, i, j].item() == (i == j or (present_j and sample_i == sample_j and earlier))


def test_without_spans_attention_is_full():
    assert visible(Stream(torch.zeros(1, 3, 2), torch.zeros(1, 3, 4))) is None
