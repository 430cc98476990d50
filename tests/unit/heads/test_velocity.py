"""Velocity head: a U-Net shrinks a picture to tokens and grows them again; a step follows the combined velocity."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.heads.head import Head, Sampling, memo_at
from kiloword.heads.level import ModulatingLevelConfig
from kiloword.heads.linear_patches import LinearPatchesConfig, Patches
from kiloword.heads.unet_patches import UNetPatchesConfig
from kiloword.heads.velocity import VelocityConfig
from kiloword.noise import Seeded
from kiloword.tokenizers.patched import joined
from kiloword.tokens import Fed, Layout, Vector


def fed(tokens: torch.Tensor, level: float = 0.5, to: float = 0.25) -> Fed:
    b, n = tokens.shape[:2]
    place = torch.arange(n).expand(b, -1)
    return Fed(tokens, torch.zeros(b, n).bool(), torch.full((b, n), level), place, torch.full((b, n), to))


@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([2, 4]), st.integers(1, 2))
@torch.no_grad()
def test_a_unet_takes_any_grid_and_gives_it_back_for_every_view(rows, columns, patch, views):
    torch.manual_seed(0)
    head = VelocityConfig(Vector(3 * patch**2), 16, UNetPatchesConfig(patch, 8)).build()
    layout = Layout(((rows, columns),))
    tokens = torch.randn(2, layout.count, 3 * patch**2)
    vectors, memo = head.enter(fed(tokens), layout)
    assert vectors.shape == (2, layout.count, 16)
    sides = [columns * patch, *(columns * patch >> k for k in range(patch // 2))]
    assert [skip.shape[-1] for skip in memo.skips] == sides
    hidden = torch.randn(views, 2, layout.count, 16)
    together = head.velocity(hidden, memo)
    for view, one in zip(hidden, together, strict=True):
        assert torch.allclose(head.velocity(view[None], memo)[0], one, atol=1e-5)


@torch.no_grad()
def test_neighbours_of_a_unet_hear_each_other_across_tokens_and_pictures_do_not():
    torch.manual_seed(0)
    head = VelocityConfig(Vector(4), 16, UNetPatchesConfig(2, 8)).build()
    layout = Layout(((1, 2),))
    latents = torch.randn(2, 8, 1)  # two rows and four columns of latents
    other = latents.clone()
    other[0, 3] += 1  # the last one of the upper row: of the second token
    before, after = (head.enter(fed(joined(x, 2, 2)), layout)[0] for x in (latents, other))
    moved = (before - after).abs().amax(-1)
    assert (moved[0] > 1e-5).all() and (moved[1] == 0).all()


@torch.no_grad()
def test_skips_carry_what_the_rows_do_not():
    """With the same hidden vectors, what was noised still decides the velocity."""
    torch.manual_seed(0)
    head = tiny.awake(VelocityConfig(Vector(4), 16, UNetPatchesConfig(2, 8)).build())
    layout, hidden = Layout(((2, 2),)), torch.randn(1, 1, 4, 16)
    one, two = (head.enter(fed(torch.randn(1, 4, 4)), layout)[1] for _ in range(2))
    assert (head.velocity(hidden, one) - head.velocity(hidden, two)).abs().max() > 1e-3


@given(st.floats(-2, 4), st.floats(0.1, 1), st.floats(0, 1))
@torch.no_grad()
def test_a_step_goes_along_the_weighed_velocity_as_far_as_the_levels_say(guidance, level, share):
    torch.manual_seed(0)
    head = VelocityConfig(Vector(3), 16).build()
    layout, tokens, hidden = Layout(((1, 2),)), torch.randn(1, 2, 3), torch.randn(2, 1, 2, 16)
    _, memo = head.enter(fed(tokens, level, level * share), layout)
    one, two = head.velocity(hidden, memo)
    weights = torch.tensor([[guidance], [1 - guidance]])
    drawn = head.sample(hidden, weights, memo, Sampling(), Seeded([0]), torch.arange(1))
    expected = tokens + (level * share - level) * (two + guidance * (one - two))
    assert torch.allclose(drawn, expected, atol=1e-4)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
@torch.no_grad()
def test_the_memo_of_some_tokens_is_theirs(some):
    torch.manual_seed(0)
    head, layout = VelocityConfig(Vector(3), 16).build(), Layout(((2, 3),))
    index, hidden = torch.tensor([some, some[::-1]]), torch.randn(1, 2, 6, 16)
    _, memo = head.enter(replace(fed(torch.randn(2, 6, 3)), level=torch.rand(2, 6), to=torch.zeros(2, 6)), layout)
    row = torch.arange(2)[:, None]
    theirs = head.velocity(hidden[:, row, index], memo_at(memo, index))
    assert torch.allclose(theirs, head.velocity(hidden, memo)[:, row, index], atol=1e-6)
    weights = torch.ones(1, 2)
    drawn = head.sample(hidden[:, row, index], weights, memo_at(memo, index), Sampling(), Seeded([0, 1]), row[:, 0])
    everything = head.sample(hidden, weights, memo, Sampling(), Seeded([0, 1]), row[:, 0])
    assert torch.allclose(drawn, everything[row, index], atol=1e-6)


def test_laws_are_obeyed_and_what_cannot_be_is_refused():
    head = VelocityConfig(Vector(4), 16, level=ModulatingLevelConfig()).build()
    assert isinstance(head, Head) and head.denoising and head.modulates and not head.whole
    assert VelocityConfig(Vector(4), 16, UNetPatchesConfig()).build().whole
    assert isinstance(LinearPatchesConfig().build(4, 16), Patches)
    with pytest.raises(ValueError, match="power of 2 from 2 on, got 3"):
        UNetPatchesConfig(3)
    with pytest.raises(ValueError, match="multiple of 8, or fewer than 8, got 12"):
        UNetPatchesConfig(2, 12)
    with pytest.raises(ValueError, match="6 numbers of a token are no patch of 2 x 2"):
        VelocityConfig(Vector(6), 16, UNetPatchesConfig(2, 8)).build()
    unet = VelocityConfig(Vector(4), 16, UNetPatchesConfig(2, 8)).build()
    with pytest.raises(ValueError, match=r"takes one whole grid: .* got 3 tokens"):
        unet.enter(fed(torch.randn(1, 3, 4)), Layout(((2, 2),)))
