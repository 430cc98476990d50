"""FSQ: every code can be reached, codes and latents are two names of one thing, gradients pass straight through."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.tokenizers.fsq import FSQ, UNKNOWN, FSQConfig
from kiloword.tokens import Layout

LEVELS = st.lists(st.integers(2, 9), min_size=1, max_size=4).map(tuple)
GRID = Layout(((2, 3),))


def latents(fsq: FSQ, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(2, fsq.channels, 2, 3, generator=torch.Generator().manual_seed(0)) * scale


def inverse(fsq: FSQ, codes: torch.Tensor) -> torch.Tensor:
    """Latents in the middle of the cells of codes [b, n, f]."""
    bounded = (codes - fsq.centre + fsq.offset) / fsq.reach
    return (torch.atanh(bounded) - fsq.shift).transpose(1, 2).reshape(len(codes), -1, 2, 3)


@given(LEVELS, st.integers(1, 2), st.floats(0.1, 100))
def test_looking_up_what_was_quantized_gives_the_latent(levels, groups, scale):
    fsq = FSQConfig(levels, groups).build()
    quantized = fsq.quantize(latents(fsq, scale), GRID)
    fsq.space.check(quantized.target)
    assert torch.equal(quantized.target, quantized.shown)
    assert torch.allclose(fsq.lookup(quantized.target, GRID), quantized.latent, atol=1e-6)


@given(LEVELS)
def test_every_code_can_be_reached(levels):
    fsq = FSQConfig(levels).build()
    codes = torch.stack([torch.arange(6) % level for level in levels], dim=-1)[None]
    codes = torch.cat([codes, torch.tensor(levels).expand(1, 6, -1) - 1])
    assert torch.equal(fsq.quantize(inverse(fsq, codes), GRID).target, codes)


@given(LEVELS)
def test_codes_that_differ_have_latents_that_differ_within_one(levels):
    fsq = FSQConfig(levels).build()
    for channel, level in enumerate(levels):
        codes = torch.zeros(1, level, len(levels), dtype=torch.long)
        codes[0, :, channel] = torch.arange(level)
        looked_up = fsq.lookup(codes, Layout(((1, level),)))[0, channel, 0]
        assert (looked_up.diff() > 0).all() and looked_up.abs().max() <= 1


def test_the_gradient_is_that_of_the_bounded_latent():
    fsq = FSQConfig((5, 3)).build()
    latent = latents(fsq).requires_grad_()
    fsq.quantize(latent, GRID).latent.sum().backward()
    reach, centre = fsq.reach.view(1, 2, 1, 1), fsq.centre.view(1, 2, 1, 1)
    assert torch.allclose(latent.grad, (1 - latent.detach().tanh() ** 2) * reach / centre, atol=1e-6)


def test_unknown_codes_look_up_to_zero():
    fsq = FSQConfig((8, 5)).build()
    codes = torch.full((1, 6, 2), UNKNOWN)
    codes[0, 0, 0] = 7
    looked_up = fsq.lookup(codes, GRID)
    assert looked_up[0, 0, 0, 0] == 0.75 and looked_up.count_nonzero() == 1


def test_wrong_latents_are_refused():
    fsq = FSQConfig((8, 5)).build()
    with pytest.raises(ValueError, match=r"latents of \[b, 2, h, w\], got \[1, 3, 2, 3\]"):
        fsq.quantize(torch.zeros(1, 3, 2, 3), GRID)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="NaN or infinity"):
            fsq.quantize(torch.full((1, 2, 2, 3), value), GRID)


def test_wrong_levels_are_refused():
    with pytest.raises(ValueError, match=r"at least 2 levels a channel, got \(8, 1\)"):
        FSQConfig((8, 1))
    with pytest.raises(ValueError, match="at least one group of codes a token, got 0"):
        FSQConfig(groups=0)


def test_a_mean_under_a_distribution_lies_between_its_codes():
    fsq = FSQConfig((8, 5)).build()
    even = torch.zeros(1, 6, 2, 8)
    even[..., 0, 2], even[..., 0, 4], even[..., 1, 3] = 0.5, 0.5, 1.0
    assert torch.equal(fsq.lookup(even, GRID), fsq.lookup(torch.full((1, 6, 2), 3), GRID))
