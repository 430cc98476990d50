"""Vector quantization: the nearest code it is, gradients pass straight through, dead codes come alive."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from kiloword.tokenizers.quantizer import UNKNOWN
from kiloword.tokenizers.vq import VQ, VQConfig
from kiloword.tokens import Layout

GRID = Layout(((2, 3),))


def made(**settings) -> VQ:
    torch.manual_seed(0)
    return VQConfig(**{"codebook_size": 20, "code_dim": 4, **settings}).build()


def latents(vq: VQ, b: int = 2, h: int = 2, w: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(b, vq.channels, h, w, generator=torch.Generator().manual_seed(seed))


@given(st.booleans(), st.integers(0, 99))
def test_a_token_is_the_nearest_code(normalised, seed):
    vq = made(normalised=normalised)
    vectors = latents(vq, seed=seed).flatten(2).transpose(1, 2)
    codes = vq.codebook
    if normalised:
        vectors, codes = normalize(vectors, dim=2), normalize(codes, dim=1)
    quantized = vq.quantize(latents(vq, seed=seed), GRID)
    assert torch.equal(quantized.target, torch.cdist(vectors, codes[None]).argmin(2))
    assert torch.equal(quantized.latent, vq.lookup(quantized.target, GRID))
    assert torch.equal(quantized.target, quantized.shown)


def test_normalised_codes_have_length_one_whatever_is_stored():
    vq = made()
    with torch.no_grad():
        vq.codebook.mul_(torch.rand(20, 1) + 1)
    looked_up = vq.lookup(torch.arange(18).view(3, 6), GRID)
    assert torch.allclose(looked_up.norm(dim=1), torch.ones(3, 2, 3))
    assert torch.equal(vq.quantize(looked_up, GRID).target, torch.arange(18).view(3, 6))


def test_the_gradient_goes_straight_through():
    vq, weight = made(normalised=False), torch.randn(2, 4, 2, 3)
    latent = latents(vq).requires_grad_()
    (vq.quantize(latent, GRID).latent * weight).sum().backward()
    assert torch.equal(latent.grad, weight) and vq.codebook.grad is None


def test_losses_pull_each_side_by_itself():
    vq = made(normalised=False)
    latent = latents(vq).requires_grad_()
    quantized = vq.quantize(latent, GRID)
    distance = (latent - quantized.latent).square().mean()
    assert torch.allclose(quantized.losses["commitment_loss"], distance)
    assert torch.allclose(quantized.losses["codebook_loss"], distance)
    quantized.losses["commitment_loss"].backward()
    assert latent.grad.abs().sum() > 0 and vq.codebook.grad is None
    latent.grad = None
    vq.quantize(latent, GRID).losses["codebook_loss"].backward()
    used = torch.zeros(20, dtype=torch.bool).index_fill(0, quantized.target.flatten(), True)
    assert latent.grad is None and torch.equal(vq.codebook.grad.abs().sum(1) > 0, used)


def test_a_running_mean_ends_at_the_mean_of_its_latents():
    vq = made(normalised=False, learning="mean", decay=0.5).train()
    latent = latents(vq, b=8)
    for _ in range(60):
        ids = vq.quantize(latent, GRID).target.flatten()
    vectors = latent.permute(0, 2, 3, 1).reshape(-1, 4)
    for code in ids.unique():
        assert torch.allclose(vq.codebook[code], vectors[ids == code].mean(0), atol=1e-5)
    assert torch.allclose(vq.share.sum(), torch.tensor(1.0), atol=1e-5)
    assert "codebook_loss" not in vq.quantize(latent, GRID).losses


def test_a_mean_that_is_never_used_stays_where_it_was():
    vq = made(normalised=False, learning="mean", decay=0.1, codebook_size=2).train()
    vq.codebook.copy_(torch.tensor([[0.0] * 4, [50.0] * 4]))
    vq.total.copy_(vq.codebook / 2)
    for _ in range(60):
        vq.quantize(latents(vq), GRID)
    assert vq.share[1] < 1e-30 and torch.allclose(vq.codebook[1], torch.full((4,), 50.0))


@pytest.mark.parametrize("learning", ["gradient", "mean"])
@pytest.mark.parametrize("normalised", [False, True])
def test_unused_codes_come_alive_where_latents_are(learning, normalised):
    vq = made(learning=learning, normalised=normalised, decay=0.5, revive=0.1, codebook_size=64).train()
    with torch.no_grad():
        vq.codebook[1:] = -9 * vq.codebook[:1]  # all but one are far off
        if learning == "mean":
            vq.total.copy_(vq.codebook * vq.share[:, None])
    latent = vq.codebook[0].detach().view(1, 4, 1, 1) * 4 + 0.1 * latents(vq, b=16)
    assert len(vq.quantize(latent, GRID).target.unique()) == 1
    for _ in range(10):
        losses = vq.quantize(latent, GRID).losses
        sum(losses.values()).backward() if learning == "gradient" else None
    assert len(vq.quantize(latent, GRID).target.unique()) > 40
    assert losses["commitment_loss"] < 0.01


def test_nothing_is_learned_in_evaluation_mode():
    vq = made(learning="mean", revive=0.9, decay=0.1).eval()
    before = {name: value.clone() for name, value in vq.state_dict().items()}
    for _ in range(3):
        vq.quantize(latents(vq), GRID)
    assert all(torch.equal(value, before[name]) for name, value in vq.state_dict().items())


def test_only_codebooks_that_count_carry_counts():
    assert made().state_dict().keys() == {"codebook"}
    assert made(revive=0.1).state_dict().keys() == {"codebook", "share"}
    assert made(learning="mean").state_dict().keys() == {"codebook", "share", "total"}


def test_the_mean_of_codes_is_looked_up_for_a_distribution():
    vq = made()
    half = torch.zeros(1, 6, 20)
    half[..., 3] = half[..., 7] = 0.5
    wanted = (vq.codes[3] + vq.codes[7]) / 2
    assert torch.allclose(vq.lookup(half, GRID)[0, :, 1, 2], wanted)


def test_unknown_codes_look_up_to_zero():
    vq = made()
    tokens = torch.full((1, 6), UNKNOWN)
    tokens[0, 4] = 2
    looked_up = vq.lookup(tokens, GRID)
    assert torch.equal(looked_up[0, :, 1, 1], vq.codes[2]) and (looked_up[0] != 0).sum() == 4


def test_wrong_latents_and_settings_are_refused():
    vq = made()
    with pytest.raises(ValueError, match=r"\[b, 4, h, w\], got \[1, 3, 2, 3\]"):
        vq.quantize(torch.zeros(1, 3, 2, 3), GRID)
    with pytest.raises(ValueError, match="NaN"):
        vq.quantize(torch.full((1, 4, 2, 3), math.nan), GRID)
    for change in ({"codebook_size": 0}, {"code_dim": 0}, {"learning": "kmeans"}, {"decay": 1.0}, {"revive": -0.1}):
        with pytest.raises(ValueError, match=str(next(iter(change.values())))):
            VQConfig(**change)
