"""Guidance 1 is off, and guidance moves between what the null condition and the prompt would draw."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.heads.head import Sampling
from kiloword.noise import Seeded

PROMPTS = st.lists(st.sampled_from([*tiny.TEXTS, None]), min_size=1, max_size=3)


def drawn(model, drawing) -> torch.Tensor:
    return [progress.tokens for progress in model.draw(drawing, Seeded(range(drawing.count)))][-1]


def weighed(model, prompts: list, weights: list[float]):
    """A drawing with a null view, both views with these weights."""
    drawing = tiny.drawing(model, prompts, guidance=2.0)
    return replace(drawing, weights=torch.tensor(weights)[:, None].expand(2, len(prompts)))


@given(st.sampled_from(tiny.LEGAL), PROMPTS)
@torch.no_grad()
def test_weights_one_and_zero_draw_the_picture_without_guidance(case, prompts):
    model = tiny.model(*case)
    plain = drawn(model, tiny.drawing(model, prompts))
    assert torch.equal(drawn(model, weighed(model, prompts, [1.0, 0.0])), plain)


@given(st.sampled_from(tiny.LEGAL), PROMPTS)
@torch.no_grad()
def test_weights_zero_and_one_draw_the_picture_without_prompt(case, prompts):
    model = tiny.model(*case)
    nothing = drawn(model, tiny.drawing(model, [None] * len(prompts)))
    assert torch.equal(drawn(model, weighed(model, prompts, [0.0, 1.0])), nothing)


@pytest.mark.parametrize("case", tiny.LEGAL, ids="-".join)
@torch.no_grad()
def test_guidance_changes_the_density_and_not_the_views(case):
    model = tiny.model(*case)
    head, tokens = model.picture.head, tiny.tokens(model, 1)
    hidden = torch.randn(2, 1, tokens.shape[1], tiny.WIDTH, generator=torch.Generator().manual_seed(0))
    copy = hidden.clone()

    def density(guidance: float) -> torch.Tensor:
        return head.log_prob(hidden, torch.tensor([[guidance], [1 - guidance]]), tokens, Sampling())

    assert torch.allclose(density(1.0), head.log_prob(hidden[:1], torch.ones(1, 1), tokens, Sampling()), atol=1e-5)
    assert not torch.allclose(density(3.0), density(1.0), atol=1e-2)
    head.sample(hidden, torch.tensor([[3.0], [-2.0]]), None, Sampling(), Seeded([0]), torch.tensor([0]))
    assert torch.equal(hidden, copy)
