"""KL latents: means without noise, draws with it, and a divergence that agrees with torch's own."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from kiloword.noise import Recorded, Seeded
from kiloword.tokenizers.kl import KLConfig
from kiloword.tokens import Layout, Vector

GRID = Layout(((2, 3),))
KL = KLConfig(dim=4, scale=0.25).build()


def latent(log_variance: float | None = None) -> torch.Tensor:
    moments = torch.randn(2, 8, 2, 3, generator=torch.Generator().manual_seed(0))
    if log_variance is not None:
        moments[:, 4:] = log_variance
    return moments


def test_without_noise_a_token_is_the_scaled_mean():
    quantized = KL.quantize(latent(), GRID)
    assert torch.equal(quantized.latent, latent()[:, :4])
    assert torch.equal(quantized.target, latent()[:, :4].flatten(2).transpose(1, 2) * 0.25)
    assert KL.space == Vector(4) and (KL.channels, KL.encoder_channels) == (4, 8)
    KL.space.check(quantized.target)


def test_noise_is_scaled_by_the_deviation_and_handed_out_in_the_latent_s_order():
    noise = torch.randn(2, 1, 4, 2, 3)
    drawn = KL.quantize(latent(math.log(9)), GRID, Recorded(noise)).latent
    assert torch.allclose(drawn, latent()[:, :4] + 3 * noise[:, 0])


def test_a_picture_has_its_own_noise():
    both = KL.quantize(latent(), GRID, Seeded([5, 6])).target
    second = KL.quantize(latent()[1:], GRID, Seeded([6])).target
    assert torch.equal(both[1:], second) and not torch.equal(both, KL.quantize(latent(), GRID, Seeded([7, 8])).target)


def test_tokens_look_up_to_the_latent():
    quantized = KL.quantize(latent(), GRID, Seeded([1, 2]))
    assert torch.allclose(KL.lookup(quantized.target, GRID), quantized.latent)
    assert KL.lookup(torch.zeros(1, 6, 4), GRID).count_nonzero() == 0


def test_the_loss_is_the_divergence_from_the_standard_normal():
    mean, deviation = latent()[:, :4], (latent()[:, 4:] / 2).exp()
    wanted = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0))
    assert torch.allclose(KL.posterior(latent()).divergence, wanted, atol=1e-6)
    assert torch.allclose(KL.quantize(latent(), GRID).losses["kl_loss"], wanted.mean())
    nothing = KL.quantize(torch.zeros(1, 8, 2, 3), GRID)
    assert nothing.losses["kl_loss"] == 0


def test_gradients_reach_mean_and_variance_but_tokens_have_none():
    moments = latent().requires_grad_()
    quantized = KL.quantize(moments, GRID, Seeded([1, 2]))
    quantized.latent.sum().backward()
    assert (moments.grad[:, :4] == 1).all() and (moments.grad[:, 4:] != 0).all()
    assert not quantized.target.requires_grad


def test_extreme_variances_are_held_back():
    assert KL.posterior(latent(1000.0)).log_variance.max() == 20
    assert KL.posterior(latent(-1000.0)).log_variance.min() == -30


def test_wrong_settings_and_latents_are_refused():
    with pytest.raises(ValueError, match=r"got 0 and 1.0"):
        KLConfig(0)
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="positive scale"):
            KLConfig(4, scale)
    with pytest.raises(ValueError, match=r"needs latents of \[b, 8, h, w\], got \[1, 4, 2, 3\]"):
        KL.quantize(torch.zeros(1, 4, 2, 3), GRID)
