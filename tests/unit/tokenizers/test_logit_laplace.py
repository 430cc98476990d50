"""The logit-Laplace likelihood: pixels keep away from the bounds and come back, and the density integrates to one."""

import torch

from kiloword.tokenizers.logit_laplace import logit_laplace, map_pixels, unmap_pixels


def test_pixels_are_kept_from_the_bounds_and_come_back():
    pixels = torch.linspace(-1, 1, 11).view(1, 1, 1, 11)
    mapped = map_pixels(pixels)
    assert torch.allclose(mapped.aminmax().min, torch.tensor(0.1)) and torch.allclose(mapped.max(), torch.tensor(0.9))
    assert torch.allclose(unmap_pixels(mapped), pixels, atol=1e-6)
    outside = unmap_pixels(torch.tensor([0.0, 0.05, 0.95, 1.0]).view(1, 1, 1, 4))
    assert outside.flatten().tolist() == [-1, -1, 1, 1]


def test_the_density_integrates_to_one():
    edges = torch.linspace(0.1, 0.9, 20001, dtype=torch.float64)  # with this mean and scale nearly all lies between
    mapped = (edges[1:] + edges[:-1]) / 2
    pixels = ((mapped - 0.1) / 0.8 * 2 - 1).view(1, 1, 1, -1)
    for mean, log_scale in ((0.0, -2.0), (0.8, -1.5)):
        loss = logit_laplace(pixels, torch.full_like(pixels, mean), torch.full_like(pixels, log_scale))
        assert abs(float((-loss).exp().sum() * (edges[1] - edges[0])) - 1) < 2e-3


def test_the_likeliest_pixel_is_near_the_mean_and_scale_pays_for_distance():
    pixels = torch.full((1, 1, 1, 1), 0.5)
    true = torch.logit(map_pixels(pixels))
    near, far = (float(logit_laplace(pixels, true + off, torch.zeros(1, 1, 1, 1))) for off in (0.1, 2.0))
    assert abs(far - near - 1.9) < 1e-5
    wide = float(logit_laplace(pixels, true + 2.0, torch.ones(1, 1, 1, 1)))
    assert wide < far
