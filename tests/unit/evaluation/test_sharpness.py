"""Sharpness against what can be computed by hand, and what must not matter."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from kiloword.evaluation.sharpness import sharpness


def opaque(colours: torch.Tensor) -> torch.Tensor:
    return torch.cat([colours, torch.ones_like(colours[:, :1])], dim=1)


def test_a_single_bright_pixel_is_what_the_kernel_says():
    colours = -torch.ones(1, 3, 5, 5)
    colours[:, :, 2, 2] = 1
    assert sharpness(opaque(colours)).item() == pytest.approx((4**2 + 4 * 1) / 9)


def test_flat_pictures_and_even_slopes_have_none():
    slope = torch.linspace(-1, 1, 9).expand(1, 3, 7, 9)
    found = sharpness(torch.cat([opaque(slope), opaque(torch.full((1, 3, 7, 9), 0.3))]))
    assert found.tolist() == pytest.approx([0, 0], abs=1e-10)


def test_each_picture_is_judged_by_itself_and_a_blurred_one_is_less_sharp():
    drawn = opaque(torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    blurred = interpolate(avg_pool2d(drawn, 2), scale_factor=2, mode="bilinear")
    both = sharpness(torch.cat([drawn, blurred]))
    assert bool((both[3:] < both[:3] / 4).all()) and torch.equal(both[:3], sharpness(drawn))


def test_what_is_seen_through_a_picture_is_white():
    clear, white = torch.full((1, 4, 6, 6), -1.0), torch.ones(1, 4, 6, 6)
    assert sharpness(clear).item() == sharpness(white).item() == 0


def test_small_pictures_are_refused_with_their_size():
    with pytest.raises(ValueError, match="at least 3x3 pixels, got 5x2"):
        sharpness(torch.zeros(1, 4, 2, 5))
