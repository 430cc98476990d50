"""Packing saves time and changes no loss, whatever the lengths of prompts and captions."""

import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.document import to_describe, to_learn

PROMPTS = st.lists(st.sampled_from([*tiny.TEXTS, "", None]), min_size=1, max_size=4)
CAPTIONS = st.lists(st.sampled_from([*tiny.TEXTS, ""]), min_size=1, max_size=3)


@given(st.sampled_from(tiny.LEGAL), PROMPTS, CAPTIONS, st.integers(1, 90))
@torch.no_grad()
def test_a_sample_costs_the_same_alone_as_packed_with_others(case, prompts, captions, capacity):
    model = tiny.model(*case)
    layout = tiny.layout_of(model)
    tokens, given_tokens = tiny.tokens(model, len(prompts)), tiny.tokens(model, len(captions), seed=1)
    documents = [*to_learn(prompts, layout, tokens), *to_describe(given_tokens, layout, captions)]
    losses = model.loss(documents, capacity=capacity)
    drawn, written = losses["picture"].masked(), losses["text"].masked()
    for i, prompt in enumerate(prompts):
        alone = tiny.picture_losses(model, [prompt], tokens[i : i + 1], capacity=1)
        assert torch.allclose(alone[0], drawn[i], atol=1e-4)
    for i, caption in enumerate(captions):
        alone = tiny.text_losses(model, [caption], given_tokens[i : i + 1], capacity=1)
        count = alone.shape[1]
        assert torch.allclose(alone[0], written[i, :count], atol=1e-4)
        assert not written[i, count:].any()
