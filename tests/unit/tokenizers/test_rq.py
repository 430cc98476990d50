"""Residual quantization does what a slow loop does, and every further code brings the sum nearer."""

import pytest
import torch
from torch.nn.functional import mse_loss, one_hot

from kiloword.tokenizers.rq import RQ, RQConfig
from kiloword.tokenizers.vq import VQConfig
from kiloword.tokens import Codes, Layout

GRID = Layout(((3, 2),))


def made(depth: int = 3, shared: bool = True, codes: int = 12, **changes) -> RQ:
    torch.manual_seed(0)
    return RQConfig(VQConfig(codes, 4, normalised=False, **changes), depth, shared).build().eval()


def latents(b: int = 2, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(b, 4, 3, 2, generator=torch.Generator().manual_seed(1))


def slow(rq: RQ, latent: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Codes [b, n, depth], and the sums after each depth, one cell and code at a time."""
    depth, sums = rq.config.depth, [torch.zeros_like(latent)]
    ids = torch.zeros(len(latent), 6, depth, dtype=torch.long)
    for d in range(depth):
        codes = rq.codebooks[0 if rq.config.shared else d].codebook
        total = sums[-1].clone()
        for b in range(len(latent)):
            for n in range(6):
                left = latent[b, :, n // 2, n % 2] - sums[-1][b, :, n // 2, n % 2]
                ids[b, n, d] = torch.stack([(left - code).square().sum() for code in codes]).argmin()
                total[b, :, n // 2, n % 2] += codes[ids[b, n, d]]
        sums.append(total)
    return ids, sums[1:]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 4])
@torch.no_grad()
def test_it_does_what_a_slow_loop_does(depth, shared):
    rq, latent = made(depth, shared), latents()
    ids, sums = slow(rq, latent)
    result = rq.quantize(latent, GRID)
    assert rq.space == Codes((12,) * depth) and len(rq.codebooks) == (1 if shared else depth)
    assert torch.equal(result.target, ids)
    assert torch.allclose(result.latent, sums[-1], atol=1e-5) and torch.allclose(
        rq.lookup(ids, GRID), sums[-1], atol=1e-5
    )
    wanted = torch.stack([mse_loss(so_far, latents()) for so_far in sums]).mean()
    assert torch.allclose(result.losses["commitment_loss"], wanted)
    assert torch.allclose(result.losses["codebook_loss"], wanted)


def test_a_distribution_looks_up_to_the_mean_of_its_codes():
    rq = made(2, shared=False)
    first, second = torch.randint(12, (2, 1, 6, 2), generator=torch.Generator().manual_seed(0))
    share = 0.3 * one_hot(first, 12) + 0.7 * one_hot(second, 12)
    mean = 0.3 * rq.lookup(first, GRID) + 0.7 * rq.lookup(second, GRID)
    assert torch.allclose(rq.lookup(share, GRID), mean, atol=1e-5)


def test_unknown_codes_are_left_out_of_the_sum():
    rq, latent = made(3), latents()
    ids, sums = slow(rq, latent)
    assert torch.allclose(rq.lookup(torch.cat([ids[..., :2], torch.full((2, 6, 1), -1)], -1), GRID), sums[1], atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_each_loss_pulls_its_side_and_the_latent_goes_straight_through(shared):
    rq, latent = made(2, shared), latents().requires_grad_()
    result = rq.quantize(latent, GRID)
    (straight,) = torch.autograd.grad(result.latent.sum(), latent, retain_graph=True)
    assert torch.equal(straight, torch.ones_like(latent))
    books = list(rq.parameters())
    losses = result.losses
    grads = torch.autograd.grad(losses["commitment_loss"], [latent, *books], allow_unused=True, retain_graph=True)
    assert grads[0].any() and all(grad is None for grad in grads[1:])
    grads = torch.autograd.grad(losses["codebook_loss"], [latent, *books], allow_unused=True)
    assert grads[0] is None and all(grad.any() for grad in grads[1:])


@pytest.mark.parametrize("shared", [True, False])
def test_codebooks_of_means_come_nearer_in_training_only(shared):
    rq, latent = made(3, shared, learning="mean", decay=0.8), latents(b=32)
    before = {name: value.clone() for name, value in rq.state_dict().items()}
    first = rq.quantize(latent, GRID).losses
    assert set(first) == {"commitment_loss"}
    assert all(torch.equal(value, before[name]) for name, value in rq.state_dict().items())
    rq.train()
    for _ in range(40):
        rq.quantize(latent, GRID)
    assert rq.eval().quantize(latent, GRID).losses["commitment_loss"] < 0.9 * first["commitment_loss"]
    assert all(not torch.equal(book.codebook, before[f"codebooks.{i}.codebook"]) for i, book in enumerate(rq.codebooks))


def test_a_shared_codebook_of_means_hears_of_all_depths():
    """With one code, it becomes the mean of the residuals of all depths."""
    rq = made(2, codes=1, learning="mean", decay=0.0).train()
    code, latent = rq.codebooks[0].codebook.clone(), latents()
    rq.quantize(latent, GRID)
    vectors = latent.permute(0, 2, 3, 1).reshape(-1, 4)
    assert torch.allclose(
        rq.codebooks[0].codebook, torch.cat([vectors, vectors - code]).mean(0, keepdim=True), atol=1e-6
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="depth of at least 1, got 0"):
        RQConfig(depth=0)
    with pytest.raises(ValueError, match="codes of length 1"):
        RQConfig(VQConfig(8, 4))
    with pytest.raises(ValueError, match=r"latents of \[b, 4, h, w\], got \[1, 5, 3, 2\]"):
        made().quantize(torch.zeros(1, 5, 3, 2), GRID)
    with pytest.raises(ValueError, match=r"grid of 3x2, the latent is \[1, 4, 2, 3\]"):
        made().quantize(torch.zeros(1, 4, 2, 3), GRID)
