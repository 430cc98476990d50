"""The denoiser: what it may be made of, what tokens tell which patches, and patches that have not begun."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import tiny
from kiloword.decoders.denoiser import TokenEntrance, places, waves
from kiloword.tokens import Bits, Categorical, Codes, Layout, Vector

SPACES = [Categorical(5), Codes((3, 2)), Bits(4), Vector(3)]
LAYOUT = Layout(((2, 1), (4, 2)))


def test_sizes_that_do_not_fit_are_refused():
    config = tiny.decoder().denoiser
    with pytest.raises(ValueError, match="1, 2 or 4 times its tokenizer's resolution, got 3"):
        replace(config, scale=3)
    with pytest.raises(ValueError, match=r"covers 4 pixels, which patches of 8 do not divide: choose \[1, 2, 4\]"):
        replace(config, patch=8)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_every_factor_of_a_known_token_counts_and_nothing_of_an_unknown_one(space):
    torch.manual_seed(0)
    entrance, known = TokenEntrance(space, 8), torch.tensor([[True, False, True]])
    tokens = tiny.tokens_of(space, Layout(((1, 3),)), 1)
    before = entrance(tokens, known)
    assert torch.equal(before[0, 1], entrance.unknown)
    changed = tokens.clone()
    changed[0, 1] = tiny.tokens_of(space, Layout(((1, 3),)), 1, seed=1)[0, 1]
    assert torch.equal(entrance(changed, known), before)
    for factor in range(tokens[0, 0].numel()):
        changed = tokens.clone()
        changed.view(1, 3, -1)[0, 0, factor] = 1 - tokens.view(1, 3, -1)[0, 0, factor].clamp(max=1)
        after = entrance(changed, known)
        assert not torch.equal(after[0, 0], before[0, 0]) and torch.equal(after[0, 1:], before[0, 1:])


def test_factors_do_not_share_vectors():
    entrance = TokenEntrance(Codes((3, 2)), 8)
    assert len(entrance.vectors.weight) == 5 and entrance.offset.tolist() == [0, 3]


def test_a_token_of_the_finest_grid_tells_the_patches_that_it_covers():
    net = tiny.diffusion_decoder(scale=4).denoiser
    assert net.config.split == 4 and net.grid(LAYOUT) == (16, 8)

    class Itself(nn.Module):
        def forward(self, stream):
            return stream.vectors

    net.guide_stack = Itself()
    known = torch.ones(1, LAYOUT.count, dtype=torch.bool)
    tokens = tiny.tokens_of(net.config.space, LAYOUT, 1)
    other = tokens.clone()
    other[0, 2 + 3, 0] = (tokens[0, 2 + 3, 0] + 1) % 3  # row 1, column 1 of the finest grid
    changed = (net.guide(tokens, LAYOUT, known) != net.guide(other, LAYOUT, known)).any(-1).view(16, 8)
    assert changed[4:8, 4:].all() and changed.sum() == 16


def test_a_draft_tells_too():
    net, known = tiny.diffusion_decoder().denoiser, torch.ones(1, LAYOUT.count, dtype=torch.bool)
    tokens = tiny.tokens_of(net.config.space, LAYOUT, 1)
    told = net.guide(tokens, LAYOUT, known)
    known[0, 0] = False
    assert (net.guide(tokens, LAYOUT, known) != told).any(-1).all()


@torch.no_grad()
def test_patches_that_are_not_seen_are_as_if_they_were_not_there():
    net, b, t = tiny.diffusion_decoder().denoiser, 2, 32
    x, guide, place = torch.randn(b, t, net.patches.dim), torch.randn(b, t, tiny.WIDTH), places(8, 4).expand(b, -1, -1)
    level, to = torch.rand(2, b, t, net.patches.bands)
    some = torch.arange(t) % 3 != 1
    whole = net(x, level, to, guide, place, some.expand(b, -1))[:, some]
    part = net(x[:, some], level[:, some], to[:, some], guide[:, some], place[:, some])
    assert torch.allclose(whole, part, atol=1e-5)


@torch.no_grad()
def test_levels_of_every_band_and_where_the_step_leads_are_heard():
    net, t = tiny.diffusion_decoder(patch=4).denoiser, 8
    x, guide, place = torch.randn(1, t, net.patches.dim), torch.randn(1, t, tiny.WIDTH), places(4, 2)[None]
    level, to = torch.full((1, t, 3), 0.6), torch.full((1, t, 3), 0.4)
    before = net(x, level, to, guide, place)
    for which in range(2):
        for band in range(3):
            changed = [level.clone(), to.clone()]
            changed[which][0, 5, band] = 0.5
            assert ((net(x, *changed, guide, place) - before).abs().amax(-1) > 1e-7).all()


def test_waves_tell_close_levels_and_the_two_ends_apart():
    told = waves(torch.tensor([0.0, 1.0, 0.5, 0.502]).view(1, 4, 1))[0]
    assert torch.cdist(told, told).add(torch.eye(4)).min() > 0.5
