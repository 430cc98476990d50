"""Binary spherical quantization: corners of length 1, probabilities between them, an entropy favouring clear bits."""

import math

import pytest
import torch
from torch.nn.functional import mse_loss, normalize

from kiloword.tokenizers.bsq import BSQ, BSQConfig, entropy_loss
from kiloword.tokenizers.quantizer import UNKNOWN
from kiloword.tokens import Bits, Layout

GRID = Layout(((2, 3),))


def made(bits: int = 5, **changes) -> BSQ:
    return BSQConfig(bits, **changes).build().eval()


def latents(bits: int = 5, b: int = 2) -> torch.Tensor:
    return torch.randn(b, bits, 2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bits", [1, 5, 64])
def test_bits_are_signs_and_latents_corners_of_length_one(bits):
    bsq, latent = made(bits), latents(bits)
    result = bsq.quantize(latent, GRID)
    assert bsq.space == Bits(bits) and torch.equal(result.shown, result.target)
    for b in range(2):
        for n in range(6):
            for c in range(bits):
                positive = bool(latent[b, c, n // 3, n % 3] > 0)
                assert result.target[b, n, c] == positive
                assert abs(result.latent[b, c, n // 3, n % 3] - (1 if positive else -1) / math.sqrt(bits)) < 1e-6
    assert torch.allclose(result.latent.norm(dim=1), torch.ones(2, 2, 3))
    assert torch.allclose(bsq.lookup(result.target, GRID), result.latent, atol=1e-6)


def test_a_zero_counts_as_bit_zero():
    assert not made().quantize(torch.zeros(1, 5, 2, 3), GRID).target.any()


def test_the_gradient_is_that_of_the_latent_of_length_one():
    latent, weight = latents().requires_grad_(), latents(b=2).flip(0)
    (gradient,) = torch.autograd.grad((made().quantize(latent, GRID).latent * weight).sum(), latent)
    (wanted,) = torch.autograd.grad((normalize(latent, dim=1) * weight).sum(), latent)
    assert torch.allclose(gradient, wanted, atol=1e-6) and gradient.any()


def test_probabilities_look_up_to_mean_corners_and_unknown_bits_to_zero():
    bsq = made(4)
    share = torch.tensor([0.0, 1.0, 0.5, 0.75]).expand(1, 6, 4)
    assert torch.allclose(bsq.lookup(share, GRID)[0, :, 1, 2], torch.tensor([-0.5, 0.5, 0.0, 0.25]))
    bits = torch.tensor([0, 1, UNKNOWN, 1]).expand(1, 6, 4)
    assert torch.equal(bsq.lookup(bits, GRID)[0, :, 0, 0], torch.tensor([-0.5, 0.5, 0.0, 0.5]))


def test_the_entropy_is_that_of_a_softmax_over_squared_distances():
    unit, sharpness = normalize(latents(), dim=1), 3.0
    total, shares = 0.0, []
    for number in unit.movedim(1, -1).reshape(-1, 5):
        shares.append([])
        for value in number.tolist():
            near = [math.exp(-sharpness * (value - corner / math.sqrt(5)) ** 2) for corner in (-1, 1)]
            p = near[1] / sum(near)
            total -= p * math.log(p) + (1 - p) * math.log(1 - p)
            shares[-1].append(p)
    mean = torch.tensor(shares).mean(0)
    wanted = total / unit.numel() + (mean * mean.log() + (1 - mean) * (1 - mean).log()).mean()
    assert torch.allclose(entropy_loss(unit, sharpness), wanted, atol=1e-5)


def test_the_entropy_is_least_for_clear_bits_that_are_all_used():
    clear = torch.full((1, 5, 2, 3), 1 / math.sqrt(5))
    assert entropy_loss(torch.cat([clear, -clear]), 100).item() == pytest.approx(-math.log(2), abs=1e-3)
    assert entropy_loss(clear, 100).item() == pytest.approx(0, abs=1e-3)  # clear, but always the same
    assert entropy_loss(0 * clear, 100).item() == pytest.approx(0, abs=1e-6)  # all used, but unclear


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_losses_have_finite_slopes_and_the_entropy_pushes_away_from_zero(scale):
    latent = (scale * latents()).requires_grad_()
    losses = made(sharpness=100.0).quantize(latent, GRID).losses
    assert set(losses) == {"commitment_loss", "entropy_loss"}
    (slope,) = torch.autograd.grad(losses["entropy_loss"], latent)
    assert torch.isfinite(slope).all()
    alike = torch.ones(2, 5, 2, 3, requires_grad=True)  # their mean bits are 1 in float32
    assert torch.isfinite(torch.autograd.grad(entropy_loss(alike, 1e3), alike)[0]).all()
    unclear = torch.tensor([0.01, -0.01]).view(2, 1, 1, 1).expand(2, 5, 2, 3).clone().requires_grad_()
    (push,) = torch.autograd.grad(entropy_loss(unclear, 100.0), unclear)
    assert (push[0] < 0).all() and (push[1] > 0).all()


def test_the_commitment_is_to_the_corner_without_a_gradient_to_it():
    latent = latents().requires_grad_()
    result = made().quantize(latent, GRID)
    wanted = mse_loss(normalize(latent, dim=1), result.latent.detach())
    found, reference = (torch.autograd.grad(loss, latent)[0] for loss in (result.losses["commitment_loss"], wanted))
    assert torch.allclose(result.losses["commitment_loss"], wanted) and torch.allclose(found, reference, atol=1e-7)


def test_what_does_not_fit_is_refused():
    for bits, sharpness in ((0, 1.0), (4, 0.0), (4, math.inf)):
        with pytest.raises(ValueError, match="bits and a positive sharpness"):
            BSQConfig(bits, sharpness)
    with pytest.raises(ValueError, match=r"latents of \[b, 5, h, w\], got \[1, 4, 2, 3\]"):
        made().quantize(torch.zeros(1, 4, 2, 3), GRID)
