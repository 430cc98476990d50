"""Tests of evaluation/feature_spaces.py: what counts as alike."""

import torch

from kiloword.evaluation.feature_spaces import SPACES, distances, features, pooled


def random_pictures(count: int, side: int = 64) -> torch.Tensor:
    """Opaque squares of random colour and position on nothing."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.zeros(count, 4, side, side, dtype=torch.uint8)
    for picture in pictures:
        top, left, high, wide = (torch.randint(side // 8, side // 2, (4,), generator=generator)).tolist()
        colour = torch.randint(0, 200, (3, 1, 1), generator=generator).to(torch.uint8)
        picture[:3, top : top + high, left : left + wide] = colour
        picture[3, top : top + high, left : left + wide] = 255
    return pictures


def test_equal_pictures_are_at_zero_and_others_are_not():
    pictures = random_pictures(20)
    for space in SPACES:
        found = features(space, pictures)
        apart = distances(found, found)
        assert apart.diagonal().max() < 1e-5
        assert apart.masked_fill(torch.eye(20, dtype=torch.bool), 9).min() > 0.01


def test_pooled_pixels_are_means_on_white():
    picture = torch.zeros(1, 4, 32, 32, dtype=torch.uint8)
    picture[0, 3, :2, 0] = 255  # half of the first cell is black
    values = pooled(picture).view(3, 16, 16)
    assert torch.allclose(values[:, 0, 0], torch.tensor(0.5)) and bool((values[:, 1:] == 1).all())


def test_gradients_know_up_from_down():
    arrow = torch.zeros(1, 4, 32, 32, dtype=torch.uint8)
    for row in range(16):
        arrow[0, 3, row + 8, 15 - row // 2 : 17 + row // 2] = 255
    up, down = features("gradients", arrow), features("gradients", arrow.flip(2))
    assert float((up - down).norm()) > 1


def test_distances_are_euclidean():
    first, second = torch.randn(5, 7), torch.randn(3, 7)
    assert torch.allclose(distances(first, second).float(), torch.cdist(first, second), atol=1e-5)
