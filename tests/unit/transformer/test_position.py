"""Rotary positions: attention depends on differences of position only."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.tokens import Layout
from kiloword.transformer import RotaryConfig, RoundedConfig
from kiloword.transformer.position import rotate

ROTARY = RotaryConfig((2, 2, 4, 4)).build(12)
PLACE = st.tuples(*[st.integers(0, 40)] * 4)


def scores(places: list) -> torch.Tensor:
    """Queries times keys of random vectors that stand at some places."""
    generator = torch.Generator().manual_seed(0)
    queries, keys = torch.randn(2, 1, len(places), 3, 12, generator=generator)
    angles = ROTARY.angles(torch.tensor([places]).float())
    return torch.einsum("bqhd,bkhd->bhqk", rotate(queries, angles), rotate(keys, angles))


@given(st.lists(PLACE, min_size=2, max_size=4), PLACE)
def test_a_common_shift_changes_nothing(places, shift):
    shifted = [tuple(a + b for a, b in zip(place, shift, strict=True)) for place in places]
    assert torch.allclose(scores(places), scores(shifted), atol=1e-4)


@given(PLACE)
def test_turning_keeps_lengths(place):
    x = torch.randn(1, 1, 2, 12, generator=torch.Generator().manual_seed(1))
    turned = rotate(x, ROTARY.angles(torch.tensor([[place]]).float()))
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)


def test_the_origin_turns_nothing_and_every_axis_turns_something():
    x = torch.randn(1, 1, 2, 12, generator=torch.Generator().manual_seed(1))
    assert torch.equal(rotate(x, ROTARY.angles(torch.zeros(1, 1, 4))), x)
    for axis in range(4):
        place = torch.zeros(1, 1, 4)
        place[..., axis] = 1
        assert not torch.allclose(rotate(x, ROTARY.angles(place)), x, atol=1e-2)


def test_channels_must_fit_the_head():
    with pytest.raises(ValueError, match="even number"):
        RotaryConfig((3, 1, 2, 2))
    with pytest.raises(ValueError, match="sum to 8, the head has 12"):
        RotaryConfig((2, 2, 2, 2)).build(12)


def test_rounded_places_are_whole_ones_of_the_frame_halves_to_the_even():
    rotary = RotaryConfig((0, 0, 4, 4))
    places = torch.cat([torch.zeros(5, 1), Layout(((1, 5),), (7, 12)).positions()], 1)[None]  # 2.4 columns a cell
    whole = torch.tensor([[0.0, 0, 0, x] for x in (0, 2, 5, 7, 10)])[None]
    for ours, theirs in zip(RoundedConfig(rotary).build(8).angles(places), rotary.build(8).angles(whole), strict=True):
        assert torch.equal(ours, theirs)
    halves = torch.tensor([[[0.0, 0, 0.5, 1.5], [0, 0, 2.5, 3.5]]])
    evens = torch.tensor([[[0.0, 0, 0, 2], [0, 0, 2, 4]]])
    assert torch.equal(RoundedConfig(rotary).build(8).angles(halves)[0], rotary.build(8).angles(evens)[0])
