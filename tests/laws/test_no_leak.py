"""No leak: a token is predicted from the prompt and the tokens known before it, from nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny

CASES = st.sampled_from(tiny.LEGAL)
PROMPTS = ["a red apple", "a pear"]


def other(model, tokens: torch.Tensor) -> torch.Tensor:
    """A token of the same space that differs from each of these."""
    space = model.picture.tokenizer.space
    return (tokens + 1) % torch.tensor(space.sizes if space.tail else space.size)


@given(CASES, st.data())
@torch.no_grad()
def test_a_shown_token_changes_only_what_is_predicted_later(case, data):
    model = tiny.model(*case)
    layout = tiny.layout_of(model)
    target = tiny.tokens(model, 2)
    step = model.picture.order.schedule(layout, 2, None, None).start[0]
    token = data.draw(st.integers(0, layout.count - 1))
    shown = target.clone()
    shown[:, token] = other(model, shown[:, token])
    before = tiny.picture_losses(model, PROMPTS, target, target)
    after = tiny.picture_losses(model, PROMPTS, target, shown)
    later = step > step[token]
    assert torch.allclose(before[:, ~later], after[:, ~later], atol=1e-6)
    if later.any():
        assert ((before - after).abs()[:, later].amax(1) > 1e-4).all()


@given(CASES)
@torch.no_grad()
def test_every_token_depends_on_the_prompt_and_not_on_the_other_pictures(case):
    model = tiny.model(*case)
    tokens = tiny.tokens(model, 2)
    before = tiny.picture_losses(model, PROMPTS, tokens, tokens)
    after = tiny.picture_losses(model, ["blue house", PROMPTS[1]], tokens, tokens)
    assert ((before - after)[0].abs() > 1e-6).all()
    assert torch.allclose(before[1], after[1], atol=1e-5)
    changed = torch.cat([other(model, tokens[:1]), tokens[1:]])
    assert torch.allclose(tiny.picture_losses(model, PROMPTS, changed)[1], before[1], atol=1e-5)


@given(CASES, st.integers(0, 5))
@torch.no_grad()
def test_a_word_of_a_caption_changes_only_what_is_written_later(case, index):
    model = tiny.model(*case)
    tokens = tiny.tokens(model, 1)
    words = ["a", "green", "pear", "on", "a", "blue", "house"]
    texts = [" ".join(words), " ".join([*words[:index], "apple", *words[index + 1 :]])]
    losses = [tiny.text_losses(model, [text], tokens)[0] for text in texts]
    assert losses[0].shape == losses[1].shape
    assert torch.allclose(losses[0][:index], losses[1][:index], atol=1e-6)
    assert (losses[0][index + 1 :] - losses[1][index + 1 :]).abs().max() > 1e-4


@pytest.mark.parametrize("case", tiny.LEGAL, ids="-".join)
@torch.no_grad()
def test_a_caption_depends_on_every_token_of_its_picture(case):
    model = tiny.model(*case)
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 1)
    before = tiny.text_losses(model, ["a red apple"], tokens)
    for token in range(layout.count):
        changed = tokens.clone()
        changed[:, token] = other(model, changed[:, token])
        after = tiny.text_losses(model, ["a red apple"], changed)
        assert (before - after).abs().max() > 1e-5
