"""Multi-scale bits do what a slow loop does with frames of time; flipped bits are corrected by later scales."""

import math
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import interpolate, mse_loss, normalize

from kiloword.noise import Seeded
from kiloword.tokenizers.bsq import entropy_loss
from kiloword.tokenizers.bsq_scales import SQUARES, BSQScales, BSQScalesConfig
from kiloword.tokenizers.quantizer import UNKNOWN, Multiscale, forget
from kiloword.tokens import Bits, Layout

TALL = ((1, 1), (2, 1), (3, 2), (6, 3))
LAYOUTS = [
    Layout(((1, 1), (2, 2), (4, 4))),
    Layout(TALL),
    Layout(((1, 1), (1, 3), (2, 5))),
    Layout(((2, 2), (2, 2), (3, 7))),
    Layout(((3, 4),)),
]


def made(bits: int = 6, **changes) -> BSQScales:
    return BSQScalesConfig(bits, **changes).build().eval()


def latents(layout: Layout, bits: int = 6, b: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(b, bits, *layout.sizes[-1], generator=torch.Generator().manual_seed(seed))


def resized(x: torch.Tensor, size, mode: str) -> torch.Tensor:
    """As in the authors' code: a video of one frame."""
    return interpolate(x.unsqueeze(2), size=(1, *size), mode=mode).squeeze(2)


def slow(latent: torch.Tensor, layout: Layout, shown: torch.Tensor | None = None) -> tuple[torch.Tensor, list, list]:
    """Target bits, the sum after each scale, and unit latents; the residual is what the `shown` bits leave."""
    left, sums, bits, units = latent, [torch.zeros_like(latent)], [], []
    for scale, (h, w) in enumerate(layout.sizes):
        small = left if (h, w) == layout.sizes[-1] else resized(left, (h, w), "area")
        unit = small / small.square().sum(1, keepdim=True).sqrt()
        bits.append((unit > 0).long().permute(0, 2, 3, 1).flatten(1, 2))
        given = bits[-1] if shown is None else shown[:, layout.part(scale)]
        corner = (2 * given - 1).transpose(1, 2).reshape(unit.shape) / math.sqrt(unit.shape[1])
        stroke = corner if (h, w) == layout.sizes[-1] else resized(corner, layout.sizes[-1], "trilinear")
        left = left - stroke
        sums.append(sums[-1] + stroke)
        units.append(unit)
    return torch.cat(bits, 1), sums[1:], units


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_it_does_what_a_slow_loop_does(layout):
    quantizer, latent = made(), latents(layout)
    bits, sums, units = slow(latent, layout)
    result = quantizer.quantize(latent, layout)
    assert quantizer.space == Bits(6) and quantizer.multiscale is quantizer and isinstance(quantizer, Multiscale)
    assert torch.equal(result.target, bits) and torch.equal(result.shown, bits)
    assert torch.allclose(result.latent, sums[-1], atol=1e-5)
    assert torch.allclose(quantizer.lookup(bits, layout), sums[-1], atol=1e-5)
    wanted = torch.stack([entropy_loss(unit, 100.0) for unit in units]).mean()
    assert torch.allclose(result.losses["entropy_loss"], wanted, atol=1e-5)
    corners = [torch.where(unit > 0, 1.0, -1.0) / math.sqrt(6) for unit in units]
    wanted = torch.stack([mse_loss(*pair) for pair in zip(units, corners, strict=True)]).mean()
    assert torch.allclose(result.losses["commitment_loss"], wanted, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_canvas_is_the_sum_so_far_trilinearly_shrunk(layout):
    quantizer, latent = made(), latents(layout)
    bits, sums, _ = slow(latent, layout)
    assert not quantizer.canvas(bits, layout, 0).any()
    for scale in range(1, len(layout.sizes)):
        wanted = resized(sums[scale - 1], layout.sizes[scale], "trilinear")
        before = bits[:, : sum(layout.counts[:scale])]
        assert torch.allclose(quantizer.canvas(before, layout, scale), wanted, atol=1e-5)


def test_a_canvas_is_not_a_mean_over_areas():
    layout = Layout(((1, 1), (2, 2), (3, 3), (8, 8)))
    quantizer = made()
    bits, sums, _ = slow(latents(layout), layout)
    assert not torch.allclose(quantizer.canvas(bits, layout, 2), resized(sums[1], (3, 3), "area"), atol=1e-2)


def test_unknown_scales_add_nothing_and_probabilities_are_means():
    layout, quantizer = LAYOUTS[1], made()
    bits, sums, _ = slow(latents(layout), layout)
    for scale in range(len(layout.sizes)):
        known = (torch.arange(layout.count) < sum(layout.counts[: scale + 1])).expand(2, -1)
        for tokens in (bits, bits.float()):  # unknown bits become UNKNOWN, unknown probabilities one half
            shown = quantizer.lookup(forget(tokens, known, quantizer.space), layout)
            assert torch.allclose(shown, sums[scale], atol=1e-5)
    assert not quantizer.lookup(torch.full_like(bits, UNKNOWN), layout).any()
    share = 0.3 * bits + 0.7 * (1 - bits)
    mean = 0.3 * quantizer.lookup(bits, layout) + 0.7 * quantizer.lookup(1 - bits, layout)
    assert torch.allclose(quantizer.lookup(share, layout), mean, atol=1e-5)


def test_the_gradient_goes_through_every_scale_to_the_latent_of_length_one():
    layout, quantizer = LAYOUTS[1], made()
    latent, weight = latents(layout).requires_grad_(), latents(layout, seed=5)
    (gradient,) = torch.autograd.grad((quantizer.quantize(latent, layout).latent * weight).sum(), latent)
    _, sums, _ = slow(latent.detach(), layout)
    before = [torch.zeros_like(weight), *sums[:-1]]
    strokes = [
        resized(normalize(resized(latent - so_far, size, "area"), dim=1), layout.sizes[-1], "trilinear")
        for size, so_far in zip(layout.sizes, before, strict=True)
    ]
    (wanted,) = torch.autograd.grad((sum(strokes) * weight).sum(), latent)
    assert torch.allclose(gradient, wanted, atol=1e-5) and gradient.any()


LARGE = Layout(((1, 1), (2, 2), (4, 4), (8, 8), (16, 16)))


def test_flipped_bits_are_shown_and_later_targets_correct_them():
    quantizer, latent = made(16, flip=0.3), latents(LARGE, 16, b=3)
    plain = quantizer.quantize(latent, LARGE)
    result = quantizer.quantize(latent, LARGE, Seeded([1, 2, 3]))
    flipped = result.shown != result.target
    assert flipped.any() and not (plain.shown != plain.target).any()
    wanted, sums, units = slow(latent, LARGE, result.shown)
    commitments = [mse_loss(unit, torch.where(unit > 0, 0.25, -0.25)) for unit in units]
    assert torch.allclose(result.losses["commitment_loss"], torch.stack(commitments).mean(), atol=1e-6)
    assert torch.equal(result.target, wanted)  # what is left, given what is shown, before it is flipped itself
    assert torch.allclose(result.latent, sums[-1], atol=1e-5)
    assert torch.allclose(quantizer.lookup(result.shown, LARGE), result.latent, atol=1e-5)
    assert torch.equal(result.target[:, :1], plain.target[:, :1])
    assert not torch.equal(result.target, plain.target)
    uncorrected = quantizer.lookup(torch.where(flipped, 1 - plain.target, plain.target), LARGE)
    assert mse_loss(result.latent, latent) < mse_loss(uncorrected, latent)


def test_how_many_bits_flip_is_drawn_for_each_scale_and_picture_in_percents():
    quantizer, latent = made(64, flip=0.3), latents(LARGE, 64, b=8)
    result = quantizer.quantize(latent, LARGE, Seeded(range(8)))
    rate = torch.stack([
        (result.shown != result.target)[:, LARGE.part(scale)].float().mean((1, 2)) for scale in range(5)
    ])  # fmt: skip
    assert rate.max() < 0.36 and rate[-1].std() > 0.03 and rate[-2].std() > 0.03
    noise, pictures = Seeded(range(8)), torch.arange(8)
    for scale, count in enumerate(LARGE.counts):
        wanted = (noise.uniform((1, 1), pictures) * 31).floor() / 100
        flips = noise.uniform((64, count), pictures).transpose(1, 2) < wanted
        assert torch.equal((result.shown != result.target)[:, LARGE.part(scale)], flips)


def test_bits_flip_on_the_first_scales_only_with_noise_and_with_strength():
    latent, noise = latents(LARGE, 16), Seeded([1, 2])
    first = made(16, flip=0.5, flipped_scales=4).quantize(latent, LARGE, noise)
    flipped = first.shown != first.target
    assert flipped[:, LARGE.part(3)].any() and not flipped[:, LARGE.part(4)].any()
    for quantizer, given in (
        (made(16, flip=0.5), None),
        (made(16), noise),
        (made(16, flip=0.5, flipped_scales=0), noise),
    ):
        result = quantizer.quantize(latent, LARGE, given)
        assert torch.equal(result.shown, result.target)


def test_a_picture_flips_alike_whatever_else_is_in_the_batch():
    quantizer, latent = made(16, flip=0.3), latents(LARGE, 16, b=3)
    together = quantizer.quantize(latent, LARGE, Seeded([5, 6, 7]))
    alone = quantizer.quantize(latent[1:2], LARGE, Seeded([6]))
    assert torch.equal(together.shown[1:2], alone.shown) and torch.equal(together.target[1:2], alone.target)


def test_grids_are_the_first_of_the_schedule_that_is_nearest_in_shape():
    quantizer = made(schedules=(SQUARES, TALL, ((1, 1), (1, 2), (3, 6))))
    assert quantizer.grids(64, 64) == SQUARES
    assert quantizer.grids(16, 16) == SQUARES[:7] and quantizer.grids(1, 1) == ((1, 1),)
    assert quantizer.grids(6, 3) == TALL and quantizer.grids(3, 6) == ((1, 1), (1, 2), (3, 6))
    assert quantizer.grids(3, 3) == ((1, 1), (2, 2), (3, 3))  # 1, 2 and 4, of which 3 is three quarters
    assert quantizer.grids(12, 6) == ((2, 2), (4, 2), (6, 4), (12, 6))  # larger than the schedule goes
    assert quantizer.grids(128, 128)[-2:] == ((96, 96), (128, 128))
    for h in (1, 2, 5, 9):
        for w in (1, 3, 8, 40):
            grids = quantizer.grids(h, w)
            assert grids[-1] == (h, w)
            assert all(a <= c and b <= d for (a, b), (c, d) in pairwise(grids))


def test_what_does_not_fit_is_refused_with_the_numbers():
    with pytest.raises(ValueError, match=r"ends with a grid of 6x3, the latent is \[1, 6, 3, 6\]"):
        made().quantize(torch.zeros(1, 6, 3, 6), Layout(TALL))
    for changes in ({"bits": 0}, {"sharpness": 0.0}):
        with pytest.raises(ValueError, match="bits and a positive sharpness"):
            BSQScalesConfig(**changes)
    for changes in ({"flip": 1.1}, {"flip": -0.1}, {"flipped_scales": -1}):
        with pytest.raises(ValueError, match="probability from 0 to 1"):
            BSQScalesConfig(**changes)
    for schedules in ((), ((),)):
        with pytest.raises(ValueError, match="at least one schedule"):
            BSQScalesConfig(schedules=schedules)
    for grids in (((2, 2), (1, 3)), ((0, 1), (2, 2))):
        with pytest.raises(ValueError, match="become no smaller"):
            BSQScalesConfig(schedules=(grids,))


def test_the_frame_is_the_finest_grid_of_the_shape_in_proportion():
    quantizer = made(schedules=(SQUARES, TALL))
    assert [quantizer.frame(side, side) for side in (4, 16, 64)] == [(64, 64)] * 3
    assert quantizer.frame(3, 2) == (6, 3) and quantizer.frame(12, 6) == (12, 6)
    assert quantizer.frame(7, 7) == (56, 56)  # eight rows became seven
