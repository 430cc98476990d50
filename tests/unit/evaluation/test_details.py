"""Details: features change with blur, at its scales; what all pictures share does not count."""

import pytest
import torch
from torch.nn.functional import avg_pool2d

from kiloword.evaluation.details import CELLS, OCTAVES, details
from kiloword.evaluation.image_set import to_bytes


def noisy() -> torch.Tensor:
    colours = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.cat([colours, torch.ones(2, 1, 32, 32)], dim=1)


def test_a_flat_picture_has_none_and_there_is_a_number_an_octave_and_a_cell():
    found = details(torch.full((1, 4, 32, 32), 255, dtype=torch.uint8))
    assert found.shape == (1, OCTAVES * CELLS**2) and not found.any()


def test_halving_and_doubling_takes_the_finest_octave():
    picture = noisy()
    coarse = avg_pool2d(picture, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    first, second = details(to_bytes(coarse)), details(to_bytes(picture))
    finest = slice(0, CELLS**2)
    assert first[:, finest].mean() < 0.8 * second[:, finest].mean()
    assert torch.allclose(first[:, finest.stop :], second[:, finest.stop :], atol=0.02)


def test_only_the_cell_in_which_something_is_feels_it():
    picture = torch.full((1, 4, 64, 64), 255, dtype=torch.uint8)
    picture[:, :3, 2:6, 2:6] = 0
    finest = details(picture)[0, : CELLS**2].view(CELLS, CELLS)
    assert finest[0, 0] > 0 and not finest[1:].any() and not finest[:, 1:].any()


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="multiples of 8, got 20x16"):
        details(torch.zeros(1, 4, 16, 20, dtype=torch.uint8))
