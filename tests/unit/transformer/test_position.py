"""Rotary positions: attention depends on differences of position only."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.tokens import Layout
from kiloword.transformer import RotaryConfig, RoundedConfig
from kiloword.transformer.position import rotate

ROTARY = RotaryConfig((2, 2, 4, 4)).build(12)
POSITION = st.tuples(*[st.integers(0, 40)] * 4)


def scores(positions: list) -> torch.Tensor:
    """Queries times keys of random vectors at some positions."""
    generator = torch.Generator().manual_seed(0)
    queries, keys = torch.randn(2, 1, len(positions), 3, 12, generator=generator)
    angles = ROTARY.angles(torch.tensor([positions]).float())
    return torch.einsum("bqhd,bkhd->bhqk", rotate(queries, angles), rotate(keys, angles))


@given(st.lists(POSITION, min_size=2, max_size=4), POSITION)
def test_a_common_shift_changes_nothing(positions, shift):
    shifted = [tuple(a + b for a, b in zip(position, shift, strict=True)) for position in positions]
    assert torch.allclose(scores(positions), scores(shifted), atol=1e-4)


@given(POSITION)
def test_rotation_keeps_lengths(position):
    x = torch.randn(1, 1, 2, 12, generator=torch.Generator().manual_seed(1))
    rotated = rotate(x, ROTARY.angles(torch.tensor([[position]]).float()))
    assert torch.allclose(rotated.norm(dim=-1), x.norm(dim=-1), atol=1e-5)


def test_the_origin_rotates_nothing_and_every_axis_rotates_something():
    x = torch.randn(1, 1, 2, 12, generator=torch.Generator().manual_seed(1))
    assert torch.equal(rotate(x, ROTARY.angles(torch.zeros(1, 1, 4))), x)
    for axis in range(4):
        position = torch.zeros(1, 1, 4)
        position[..., axis] = 1
        assert not torch.allclose(rotate(x, ROTARY.angles(position)), x, atol=1e-2)


def test_channels_must_fit_the_head():
    with pytest.raises(ValueError, match="even number"):
        RotaryConfig((3, 1, 2, 2))
    with pytest.raises(ValueError, match="sum to 8, the head has 12"):
        RotaryConfig((2, 2, 2, 2)).build(12)


def test_rounded_positions_are_whole_ones_of_the_frame_halves_to_the_even():
    rotary = RotaryConfig((0, 0, 4, 4))
    positions = torch.cat([torch.zeros(5, 1), Layout(((1, 5),), (7, 12)).positions()], 1)[None]  # 2.4 columns a cell
    whole = torch.tensor([[0.0, 0, 0, x] for x in (0, 2, 5, 7, 10)])[None]
    for angles, wanted in zip(
        RoundedConfig(rotary).build(8).angles(positions), rotary.build(8).angles(whole), strict=True
    ):
        assert torch.equal(angles, wanted)
    halves = torch.tensor([[[0.0, 0, 0.5, 1.5], [0, 0, 2.5, 3.5]]])
    evens = torch.tensor([[[0.0, 0, 0, 2], [0, 0, 2, 4]]])
    assert torch.equal(RoundedConfig(rotary).build(8).angles(halves)[0], rotary.build(8).angles(evens)[0])
