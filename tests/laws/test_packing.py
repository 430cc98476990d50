"""Packing saves time and changes no loss, whatever the lengths of prompts and captions."""

import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny

PROMPTS = st.lists(st.sampled_from([*tiny.TEXTS, "", None]), min_size=1, max_size=4)
CAPTIONS = st.lists(st.sampled_from([*tiny.TEXTS, ""]), min_size=1, max_size=3)


@given(st.sampled_from(tiny.LEGAL), PROMPTS, CAPTIONS, st.integers(1, 90))
@torch.no_grad()
def test_a_sample_costs_the_same_alone_as_packed_with_others(case, prompts, captions, capacity):
    model = tiny.model(*case)
    layout = tiny.layout_of(model)
    tokens, seen = tiny.tokens(model, len(prompts)), tiny.tokens(model, len(captions), seed=1)
    drawn, told = model.loss(prompts, tokens, tokens, layout, captions=captions, pictures=seen, capacity=capacity)
    for row, prompt in enumerate(prompts):
        alone, _ = model.loss([prompt], tokens[row : row + 1], tokens[row : row + 1], layout, capacity=1)
        assert torch.allclose(alone[0], drawn[row], atol=1e-4)
    for row, caption in enumerate(captions):
        _, alone = model.loss(
            [None], tokens[:1], tokens[:1], layout, captions=[caption], pictures=seen[row : row + 1], capacity=1
        )
        count = alone.shape[1]
        assert torch.allclose(alone[0], told[row, :count], atol=1e-4)
        assert not told[row, count:].any()
