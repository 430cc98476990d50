"""Variants of pictures stay pictures: colour below alpha, never mirrored; the generator and the iteration decide."""

import numpy as np
import pytest
import torch
from PIL import Image

from kiloword.pixels import from_image
from kiloword.training.augmentation import shrink, shuffled, to_bytes, vary


def bytes_of(count: int, side: int) -> torch.Tensor:
    values = np.random.default_rng(0).integers(0, 256, (count, side, side, 4), dtype=np.uint8)
    return torch.stack([to_bytes(Image.fromarray(value), side) for value in values])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_picture_is_fitted_into_the_middle_of_a_square():
    values = to_bytes(Image.new("RGB", (10, 5), (255, 0, 0)), 8)
    assert values.shape == (4, 8, 8)
    assert (values[3, 2:6] == 255).all() and (values[:, :2] == 0).all() and (values[:, 6:] == 0).all()


def test_a_square_picture_stays_as_it_is():
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (6, 6, 4), dtype=np.uint8))
    assert torch.allclose(shrink(to_bytes(picture, 6)[None], 6)[0], from_image(picture))


def test_shrinking_takes_means():
    values = torch.zeros(1, 4, 4, 4, dtype=torch.uint8)
    values[..., :2, :2] = 255
    assert shrink(values, 2)[0, 0].tolist() == [[1, -1], [-1, -1]]
    assert torch.allclose(shrink(values, 1), torch.tensor(-0.5))


def test_variants_are_premultiplied_and_decided_by_the_generator():
    values = bytes_of(5, 16)
    first, second = vary(values, 8, generator()), vary(values, 8, generator())
    assert torch.equal(first, second) and first.shape == (5, 4, 8, 8)
    assert first.min() >= -1 and first.max() <= 1 + 1e-6
    assert (first[:, :3] <= first[:, 3:] + 1e-6).all()
    assert not torch.allclose(first, vary(values, 8, generator().manual_seed(1)), atol=0.01)


def test_nothing_is_mirrored():
    left = torch.zeros(20, 4, 16, 16, dtype=torch.uint8)
    left[..., :8] = 255
    alpha = vary(left, 16, generator())[:, 3]
    assert (alpha[..., :5].mean((1, 2)) > alpha[..., -5:].mean((1, 2))).all()


def test_rows_are_those_of_the_iteration_and_have_their_weights():
    weights = torch.tensor([0.0, 1.0, 1.0, 2.0])
    assert torch.equal(shuffled(weights, 5, 3, seed=1), shuffled(weights, 5, 3, seed=1))
    assert sorted(shuffled(weights, 0, 3, seed=1).tolist()) == [1, 2, 3]
    counts = torch.bincount(torch.cat([shuffled(weights, i, 40, seed=1) for i in range(50)]), minlength=4) / 2000
    assert counts.tolist() == pytest.approx([0, 0.25, 0.25, 0.5], abs=0.05)
