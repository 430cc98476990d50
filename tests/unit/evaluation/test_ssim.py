"""Structural similarity against scikit-image, and its bounds."""

import pytest
import torch
from torch import Tensor

from kiloword.evaluation.ssim import ssim


def waves() -> tuple[Tensor, Tensor]:
    """Two opaque pictures of 24 rows and 20 columns."""
    y, x = torch.meshgrid(torch.arange(24), torch.arange(20), indexing="ij")
    first = torch.stack([x * 7 + y * 3, x * x + y * 11, x * y]) % 256
    second = torch.stack([x * 7 + y * 5, x * x + y * 9 + 10, x * y + 30 * (x > 9)]) % 256
    first, second = (torch.cat([v / 127.5 - 1, torch.ones(1, 24, 20)])[None] for v in (first, second))
    return first, second


def test_it_is_what_scikit_image_says():
    """skimage 0.26 structural_similarity: gaussian_weights, sigma 1.5, use_sample_covariance=False, data_range 1."""
    assert ssim(*waves()).item() == pytest.approx(0.79972922758916, abs=2e-6)


def test_equal_pictures_have_one_and_each_is_judged_by_itself():
    first, second = waves()
    both = ssim(torch.cat([first, first]), torch.cat([first, second]))
    assert both[0].item() == pytest.approx(1) and both[1].item() == pytest.approx(ssim(first, second).item())
    assert ssim(first, -first).item() < 0.5


def test_what_is_seen_through_a_picture_is_white():
    clear, white = torch.full((1, 4, 12, 12), -1.0), torch.ones(1, 4, 12, 12)
    assert ssim(clear, white).item() == pytest.approx(1)


def test_small_pictures_are_refused_with_their_size():
    with pytest.raises(ValueError, match="at least 11x11 pixels, got 20x8"):
        ssim(torch.zeros(1, 4, 8, 20), torch.zeros(1, 4, 8, 20))
