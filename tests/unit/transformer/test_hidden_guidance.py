"""Guidance after a block: the hidden vectors of the views become one sum, and are unchanged where guidance is off."""

import pytest
import torch

from kiloword.transformer import HiddenGuidance, hidden_guidance_at


def test_positions_of_the_picture_become_the_weighted_sum_of_all_views():
    weights = torch.tensor([[[3.0, 1.0]], [[-2.0, 0.0]]])  # two views of one picture of two positions
    x = torch.arange(12.0).view(2, 3, 2)
    combined = HiddenGuidance(0, weights).combined(x)
    assert torch.equal(combined[:, 0], x[:, 0])  # before the picture
    assert torch.equal(combined[0, 1], 3 * x[0, 1] - 2 * x[1, 1]) and torch.equal(combined[0, 1], combined[1, 1])
    assert torch.equal(combined[:, 2], x[:, 2])  # weight 1: off


def test_blocks_are_counted_from_either_end():
    weights = torch.ones(2, 1, 1)
    assert [HiddenGuidance(block, weights).block_of(4) for block in (0, 3, -1, -4)] == [0, 3, 3, 0]
    for block in (4, -5):
        with pytest.raises(ValueError, match=f"after block {block}: this transformer has 4, 0 to 3"):
            HiddenGuidance(block, weights).block_of(4)


def test_every_position_has_the_weights_of_its_step():
    weights = torch.arange(12.0).view(3, 2, 2)  # steps, views, pictures
    steps = torch.tensor([[0, 2, 1], [1, 1, 0]])
    found = hidden_guidance_at(1, weights, steps)
    for view in range(2):
        for picture in range(2):
            for position in range(3):
                assert found.weights[view, picture, position] == weights[steps[picture, position], view, picture]
    assert torch.equal(hidden_guidance_at(1, weights[0], steps).weights[..., 0], weights[0])
    assert hidden_guidance_at(None, weights, steps) is None and hidden_guidance_at(1, torch.ones(1, 2), steps) is None
