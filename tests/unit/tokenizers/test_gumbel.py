"""Gumbel-softmax: the likeliest code at inference, a soft draw in training that hardens as the temperature falls."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.noise import Recorded, Seeded
from kiloword.tokenizers.gumbel import Gumbel, GumbelConfig, kl_to_uniform
from kiloword.tokenizers.quantizer import UNKNOWN, Quantizer
from kiloword.tokens import Layout

GRID = Layout(((2, 3),))


def build(size: int = 5, dim: int = 4, temperature: float = 1.0) -> Gumbel:
    torch.manual_seed(0)
    quantizer = GumbelConfig(size, dim, temperature).build()
    torch.nn.init.normal_(quantizer.bias)
    return quantizer


def logits(size: int = 5, b: int = 2, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(b, size, 2, 3, generator=torch.Generator().manual_seed(1)) * scale


@given(st.integers(1, 9), st.integers(1, 6))
def test_without_noise_the_likeliest_code_is_looked_up(size, dim):
    quantizer = build(size, dim)
    quantized = quantizer.quantize(logits(size), GRID)
    assert isinstance(quantizer, Quantizer) and quantized.losses == {}
    assert torch.equal(quantized.target.view(2, 2, 3), logits(size).argmax(1))
    quantizer.space.check(quantized.target)
    assert torch.equal(quantizer.lookup(quantized.target, GRID), quantized.latent)
    code = quantizer.codebook[quantized.target[1, 4]] + quantizer.bias
    assert torch.equal(quantized.latent[1, :, 1, 1], code)


def test_what_is_unknown_looks_up_to_zero_without_a_bias():
    quantizer = build()
    ids = torch.tensor([[0, UNKNOWN, 2, 3, 4, UNKNOWN]])
    looked_up = quantizer.lookup(ids, GRID).flatten(2)[0]
    assert (looked_up[:, [1, 5]] == 0).all() and (looked_up[:, [0, 2, 3, 4]] != 0).all()
    none = quantizer.lookup(torch.zeros(1, 6, 5), GRID)
    assert (none == 0).all()


def test_a_distribution_looks_up_to_the_mean_of_its_codes():
    quantizer = build()
    ids = torch.tensor([[0, 1, 2, 3, 4, 0]])
    one_hot = torch.nn.functional.one_hot(ids, 5).float()
    assert torch.allclose(quantizer.lookup(one_hot, GRID), quantizer.lookup(ids, GRID), atol=1e-6)
    mean = (quantizer.lookup(ids, GRID) + quantizer.lookup(ids.flip(1), GRID)) / 2
    assert torch.allclose(quantizer.lookup((one_hot + one_hot.flip(1)) / 2, GRID), mean, atol=1e-6)


def test_noise_draws_codes_as_often_as_the_logits_say():
    quantizer = build(3)
    share = torch.tensor([0.6, 0.3, 0.1])
    latent = share.log().view(1, 3, 1, 1).expand(40, 3, 10, 10)
    drawn = quantizer.quantize(latent, Layout(((10, 10),)), Seeded(range(40))).target
    assert torch.allclose(drawn.flatten().bincount(minlength=3) / 4000, share, atol=0.03)


def test_the_soft_draw_hardens_as_the_temperature_falls():
    quantizer, distances = build(), []
    for quantizer.temperature in (4.0, 1.0, 0.25, 0.01):
        quantized = quantizer.quantize(logits(), GRID, Seeded([1, 2]))
        distances.append((quantized.latent - quantizer.lookup(quantized.target, GRID)).norm().item())
    assert distances == sorted(distances, reverse=True) and distances[0] > 1 and distances[-1] < 0.01


def test_the_same_noise_draws_the_same_whatever_else_is_in_the_batch():
    quantizer = build()
    both = quantizer.quantize(logits(), GRID, Seeded([1, 2]))
    second = quantizer.quantize(logits()[1:], GRID, Seeded([2]))
    other = quantizer.quantize(logits()[1:], GRID, Seeded([3]))
    assert torch.allclose(both.latent[1:], second.latent, atol=1e-6) and torch.equal(both.target[1:], second.target)
    assert not torch.allclose(other.latent, second.latent)


def test_the_relaxation_is_that_of_the_paper():
    quantizer, uniform = build(temperature=0.7), torch.rand(2, 1, 5, 2, 3, generator=torch.Generator().manual_seed(2))
    gumbel = -torch.log(-torch.log(uniform[:, 0]))
    share = torch.softmax((logits() + gumbel) / 0.7, dim=1)
    wanted = torch.einsum("bvhw,vc->bchw", share, quantizer.codebook) + quantizer.bias.view(1, -1, 1, 1)
    quantized = quantizer.quantize(logits(), GRID, Recorded(uniform))
    assert torch.allclose(quantized.latent, wanted, atol=1e-5)
    assert torch.equal(quantized.target, share.argmax(1).flatten(1))


def test_a_uniform_of_zero_is_survived():
    assert build().quantize(logits(b=1), GRID, Recorded(torch.zeros(1, 1, 5, 2, 3))).latent.isfinite().all()


@pytest.mark.parametrize("noise", [None, Seeded([1, 2])])
def test_gradients_reach_logits_codes_and_bias(noise):
    quantizer, latent = build(), logits().requires_grad_()
    quantized = quantizer.quantize(latent, GRID, noise)
    (quantized.latent * torch.arange(6.0).view(2, 3)).sum().backward()
    assert latent.grad is not None and quantizer.codebook.grad is not None and quantizer.bias.grad is not None
    assert latent.grad.abs().sum() > 0.1 and quantizer.codebook.grad.abs().sum() > 0.1
    assert torch.allclose(quantizer.bias.grad, torch.full((4,), 2 * 15.0))  # each cell counts once


def test_the_divergence_from_the_uniform_distribution():
    even = torch.full((2, 6, 8), 3.0)
    assert abs(float(kl_to_uniform(even))) < 1e-6
    sure = torch.zeros(2, 6, 8)
    sure[..., 5] = 1e4
    assert math.isclose(float(kl_to_uniform(sure)), math.log(8), rel_tol=1e-6)
    latent = logits().requires_grad_()
    share = torch.softmax(logits(), dim=1)
    wanted = (share * (share * 5).log()).sum(1).mean()
    assert torch.allclose(build().quantize(latent, GRID).losses["kl_loss"], wanted, atol=1e-6)


def test_wrong_settings_and_latents_are_refused_with_the_numbers():
    with pytest.raises(ValueError, match=r"needs latents of \[b, 5, h, w\], got \[2, 4, 2, 3\]"):
        build().quantize(logits(4), GRID)
    with pytest.raises(ValueError, match="NaN"):
        build().quantize(logits() * math.nan, GRID)
    with pytest.raises(ValueError, match="above 0, got 0"):
        GumbelConfig(8, 4, temperature=0.0)
    with pytest.raises(ValueError, match="got 0 of 4"):
        GumbelConfig(0, 4)
