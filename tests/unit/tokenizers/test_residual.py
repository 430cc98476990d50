"""Residual multi-scale quantization does what a slow loop over its definition does, whatever the scales and phis."""

import math
from fractions import Fraction

import pytest
import torch
from torch.nn.functional import interpolate, mse_loss, normalize

from kiloword.tokenizers.quantizer import UNKNOWN, Multiscale, forget
from kiloword.tokenizers.residual import Residual, ResidualConfig, phi_of
from kiloword.tokenizers.vq import VQConfig
from kiloword.tokens import Layout

PUBLISHED = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
CASES = [  # settings, grid of the latent
    ({"scales": (1, 2, 3, 4), "phis": 4}, (4, 4)),
    ({"scales": (1, 2, 3, 5), "phis": 1}, (5, 5)),
    ({"scales": (1, 2, 3, 5), "phis": 0}, (5, 5)),
    ({"scales": (1, 2, 4, 6, 8), "phis": 3, "mix": 0.2}, (5, 7)),
    ({"scales": (2, 2, 6), "phis": 4, "mix": 1.0}, (6, 3)),
    ({"scales": (1, 3, 4), "mix": 0.0}, (4, 4)),
    ({"scales": (3,), "phis": 2}, (3, 3)),
    ({"scales": (1, 2, 4), "phis": 4, "by_angle": True}, (4, 5)),
    ({"scales": PUBLISHED}, (16, 16)),
    ({"scales": PUBLISHED, "phis": 0}, (9, 12)),
]


def made(codes: int = 24, channels: int = 3, seed: int = 0, **changes) -> Residual:
    torch.manual_seed(seed)
    residual = ResidualConfig(VQConfig(codes, channels, normalised=False), **changes).build().eval()
    for phi in residual.phis:
        torch.nn.init.normal_(phi.weight, std=0.2)
        torch.nn.init.normal_(phi.bias, std=0.2)
    return residual


def latents(residual: Residual, h: int, w: int, b: int = 2, seed: int = 1) -> torch.Tensor:
    return torch.randn(b, residual.channels, h, w, generator=torch.Generator().manual_seed(seed))


def slow(residual: Residual, latent: torch.Tensor, sizes) -> tuple[list, list]:
    """The ids of each scale and the sum after it, one picture, cell and code at a time."""
    codes, (h, w), ids, sums = residual.codebook.codebook, latent.shape[2:], [], [torch.zeros_like(latent)]
    for scale, (rows, columns) in enumerate(sizes):
        left = latent - sums[-1]
        small = left if scale == len(sizes) - 1 else interpolate(left, (rows, columns), mode="area")
        found = torch.zeros(len(latent), rows, columns, dtype=torch.long)
        for b in range(len(latent)):
            for y in range(rows):
                for x in range(columns):
                    vector = small[b, :, y, x]
                    if residual.config.by_angle:
                        distances = [-normalize(vector, dim=0) @ normalize(code, dim=0) for code in codes]
                    else:
                        distances = [(vector - code).square().sum() for code in codes]
                    found[b, y, x] = torch.stack(distances).argmin()
        drawn = codes[found].permute(0, 3, 1, 2)
        drawn = drawn if scale == len(sizes) - 1 else interpolate(drawn, (h, w), mode="bicubic")
        if residual.config.mix:
            phi = residual.phis[tick(scale, len(sizes), len(residual.phis))]
            drawn = (1 - residual.config.mix) * drawn + residual.config.mix * phi(drawn)
        ids.append(found.flatten(1))
        sums.append(sums[-1] + drawn)
    return ids, sums[1:]


def tick(scale: int, scales: int, phis: int) -> int:
    """The nearest of evenly spaced ticks, in exact fractions; of two, the later one, as in all recordings."""
    margin = Fraction(1, 12) if phis == 4 else Fraction(1, 2 * phis)
    ticks = [margin + i * (1 - 2 * margin) / max(1, phis - 1) for i in range(phis)]
    position = Fraction(scale, max(1, scales - 1))
    return min(reversed(range(phis)), key=lambda i: abs(ticks[i] - position))


@pytest.mark.parametrize(("changes", "grid"), CASES)
@torch.no_grad()
def test_it_does_what_a_slow_loop_does(changes, grid):
    residual = made(**changes)
    latent, layout = latents(residual, *grid), Layout(residual.grids(*grid))
    ids, sums = slow(residual, latent, layout.sizes)
    result = residual.quantize(latent, layout)
    assert torch.equal(result.target, torch.cat(ids, 1)) and torch.equal(result.shown, result.target)
    assert torch.allclose(result.latent, sums[-1], atol=1e-5)
    assert torch.allclose(residual.lookup(result.target, layout), sums[-1], atol=1e-5)
    commitment = torch.stack([mse_loss(so_far, latent) for so_far in sums]).mean()
    assert torch.allclose(result.losses["commitment_loss"], commitment, atol=1e-6)
    assert torch.allclose(result.losses["codebook_loss"], commitment, atol=1e-6)


@pytest.mark.parametrize(("changes", "grid"), CASES)
@torch.no_grad()
def test_a_canvas_is_the_sum_of_the_scales_before(changes, grid):
    residual = made(**changes)
    latent, layout = latents(residual, *grid), Layout(residual.grids(*grid))
    ids, sums = slow(residual, latent, layout.sizes)
    assert residual.multiscale is residual and isinstance(residual, Multiscale)
    first = residual.canvas(torch.cat(ids, 1), layout, 0)
    assert first.shape == (2, 3, *layout.sizes[0]) and not first.any()
    for scale in range(1, len(layout.sizes)):
        wanted = interpolate(sums[scale - 1], layout.sizes[scale], mode="area")
        before = torch.cat(ids[:scale], 1)  # later tokens are not needed
        assert torch.allclose(residual.canvas(before, layout, scale), wanted, atol=1e-5)


@torch.no_grad()
def test_the_scales_may_be_given_explicitly():
    residual = made(scales=(1, 2, 4), phis=4)
    layout = Layout(((1, 1), (1, 3), (2, 2), (3, 2), (5, 6)))
    latent = latents(residual, 5, 6)
    ids, sums = slow(residual, latent, layout.sizes)
    result = residual.quantize(latent, layout)
    assert torch.equal(result.target, torch.cat(ids, 1)) and torch.allclose(result.latent, sums[-1], atol=1e-5)


def test_phis_of_published_scales_are_those_recorded_from_the_authors():
    assert [phi_of(scale, 10, 4) for scale in range(10)] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert [phi_of(scale, 5, 4) for scale in range(5)] == [0, 1, 2, 2, 3]
    assert [phi_of(scale, 4, 4) for scale in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("scales", [1, 2, 3, 5, 10, 14])
def test_a_phi_each_is_taken_in_order_and_one_serves_all(scales):
    assert [phi_of(scale, scales, scales) for scale in range(scales)] == list(range(scales))
    assert {phi_of(scale, scales, 1) for scale in range(scales)} == {0}
    assert len(made(scales=tuple(range(1, scales + 1)), phis=0).phis) == scales


def test_grids_are_the_scales_or_in_proportion_and_end_with_the_latent():
    residual = made(scales=PUBLISHED)
    assert residual.grids(16, 16) == tuple((side, side) for side in PUBLISHED)
    assert residual.grids(32, 16) == ((2, 1), (4, 2), (6, 3), (8, 4), (10, 5), (12, 6), (16, 8), (20, 10), (26, 13),
                                      (32, 16))  # fmt: skip
    assert residual.grids(8, 8) == tuple((side, side) for side in (1, 1, 2, 2, 3, 3, 4, 5, 7, 8))
    for h in (1, 2, 7, 31):
        for w in (1, 5, 64):
            grids = residual.grids(h, w)
            assert grids[-1] == (h, w) and len(grids) == len(PUBLISHED) and list(grids) == sorted(grids)


@torch.no_grad()
def test_unknown_scales_add_nothing():
    residual = made(scales=(1, 2, 3, 5))
    layout = Layout(residual.grids(5, 5))
    ids, sums = slow(residual, latents(residual, 5, 5), layout.sizes)
    for scale in range(4):
        known = (torch.arange(layout.count) < sum(layout.counts[: scale + 1])).expand(2, -1)
        shown = residual.lookup(forget(torch.cat(ids, 1), known, residual.space), layout)
        assert torch.allclose(shown, sums[scale], atol=1e-5)
    nothing = torch.full((2, layout.count), UNKNOWN)
    assert not residual.lookup(nothing, layout).any()


@torch.no_grad()
def test_known_and_unknown_tokens_add_up_and_mixtures_are_means():
    residual = made(scales=(1, 2, 4))
    layout = Layout(residual.grids(4, 3))
    first, second = torch.randint(24, (2, 2, layout.count), generator=torch.Generator().manual_seed(0))
    known = torch.rand(2, layout.count, generator=torch.Generator().manual_seed(2)) < 0.5
    parts = [residual.lookup(forget(first, mask, residual.space), layout) for mask in (known, ~known)]
    assert torch.allclose(sum(parts), residual.lookup(first, layout), atol=1e-5)
    share = 0.25 * torch.nn.functional.one_hot(first, 24) + 0.75 * torch.nn.functional.one_hot(second, 24)
    mean = 0.25 * residual.lookup(first, layout) + 0.75 * residual.lookup(second, layout)
    assert torch.allclose(residual.lookup(share, layout), mean, atol=1e-5)


def test_gradients_go_straight_through_and_each_loss_pulls_its_side():
    residual = made(scales=(1, 2, 4))  # of four phis they use 0, 2 and 3
    latent, layout = latents(residual, 4, 4).requires_grad_(), Layout(residual.grids(4, 4))
    result = residual.quantize(latent, layout)
    weight = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    (straight,) = torch.autograd.grad((result.latent * weight).sum(), latent, retain_graph=True)
    assert torch.allclose(straight, weight)
    parameters = [residual.codebook.codebook, *(phi.weight for phi in residual.phis)]
    grads = torch.autograd.grad(
        result.losses["commitment_loss"], [latent, *parameters], allow_unused=True, retain_graph=True
    )
    assert grads[0].any() and all(grad is None for grad in grads[1:])
    grads = torch.autograd.grad(result.losses["codebook_loss"], [latent, *parameters], allow_unused=True)
    assert [grad is not None and bool(grad.any()) for grad in grads] == [False, True, True, False, True, True]


def test_a_codebook_of_means_moves_in_training_only_and_towards_the_residuals():
    torch.manual_seed(0)
    config = VQConfig(16, 3, normalised=False, learning="mean", decay=0.8)
    residual = ResidualConfig(config, (1, 2, 4), mix=0.0).build()
    latent, layout = latents(residual, 4, 4, b=8), Layout(residual.grids(4, 4))
    before = residual.codebook.codebook.clone()
    first = residual.eval().quantize(latent, layout).losses["commitment_loss"]
    assert torch.equal(residual.codebook.codebook, before)
    residual.train()
    for _ in range(40):
        residual.quantize(latent, layout)
    last = residual.eval().quantize(latent, layout).losses["commitment_loss"]
    assert not torch.equal(residual.codebook.codebook, before) and last < 0.9 * first


def test_unused_codes_are_revived_by_residuals_in_both_ways_of_learning():
    for learning in ("gradient", "mean"):
        torch.manual_seed(0)
        config = VQConfig(16, 3, normalised=False, learning=learning, decay=0.5, revive=0.1)
        residual = ResidualConfig(config, (1, 2, 4)).build().train()
        residual.codebook.codebook.data[1:] += 100
        if learning == "mean":
            residual.codebook.total.copy_(residual.codebook.codebook * residual.codebook.share[:, None])
        latent, layout = latents(residual, 4, 4, b=8), Layout(residual.grids(4, 4))
        assert len(residual.quantize(latent, layout).target.unique()) == 1
        for _ in range(10):
            sum(residual.quantize(latent, layout).losses.values()).backward() if learning == "gradient" else None
            residual.quantize(latent, layout)
        assert len(residual.quantize(latent, layout).target.unique()) > 8


def test_what_does_not_fit_is_refused_with_the_numbers():
    residual = made(scales=(1, 2, 4))
    with pytest.raises(ValueError, match=r"ends with a grid of 4x4, the latent is \[1, 3, 5, 4\]"):
        residual.quantize(torch.zeros(1, 3, 5, 4), Layout(residual.grids(4, 4)))
    with pytest.raises(ValueError, match="NaN"):
        residual.quantize(torch.full((1, 3, 4, 4), math.nan), Layout(residual.grids(4, 4)))
    plain = VQConfig(8, 3, normalised=False)
    for scales in ((), (0, 1), (2, 1)):
        with pytest.raises(ValueError, match="sides from 1 on"):
            ResidualConfig(plain, scales)
    for changes in ({"phis": -1}, {"mix": 1.5}):
        with pytest.raises(ValueError, match="0 or more phis"):
            ResidualConfig(plain, **changes)
    with pytest.raises(ValueError, match="codes of length 1"):
        ResidualConfig(VQConfig(8, 3))
    with pytest.raises(ValueError, match="by angle"):
        ResidualConfig(VQConfig(8, 3, normalised=False, learning="mean"), by_angle=True)
