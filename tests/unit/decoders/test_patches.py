"""Patches: nothing is lost, white noise stays white, bands go from coarse to fine, and every grouping counts."""

import pytest
import torch

from kiloword.decoders.patches import GROUPINGS, Patches, cosines


@pytest.mark.parametrize("side", [1, 2, 4, 8])
def test_a_picture_comes_back_from_its_patches_which_are_as_long_as_it_is(side):
    patches, pixels = Patches(side, 4), torch.randn(2, 4, 16, 8)
    cut = patches.split(pixels)
    assert cut.shape == (2, 128 // side**2, patches.dim)
    assert torch.allclose(patches.join(cut, 16 // side), pixels, atol=1e-5)
    assert torch.allclose(cut.square().sum((1, 2)), pixels.square().sum((1, 2, 3)), rtol=1e-4)
    assert torch.allclose(cosines(side) @ cosines(side).T, torch.eye(side), atol=1e-6)


def test_patches_stand_in_raster_order():
    pixels = torch.zeros(1, 1, 4, 6)
    pixels[0, 0, 2:, 4:] = 1
    lit = Patches(2, 1).split(pixels)[0].abs().sum(1) > 0
    assert lit.tolist() == [False] * 5 + [True]


def test_bands_are_the_mean_and_then_twice_the_frequency_each():
    patches = Patches(8, 3)
    assert patches.bands == 4 and patches.band.bincount().tolist() == [3, 9, 36, 144]
    assert (patches.band.diff() >= 0).all()
    flat = torch.rand(1, 3, 1, 1).expand(-1, -1, 8, 8)
    cut = patches.split(flat)
    assert torch.allclose(cut[0, 0, :3], flat[0, :, 0, 0] * 8) and cut[0, 0, 3:].abs().max() < 1e-5
    level = torch.arange(4.0).view(1, 1, 4)
    assert torch.equal(patches.spread(level)[0, 0], patches.band.float())


def test_sizes_that_do_not_fit_are_refused():
    for side in (0, 3, 12):
        with pytest.raises(ValueError, match=f"a power of 2, got {side}"):
            Patches(side, 4)
    with pytest.raises(ValueError, match="patches of 4 pixels a side: 8x6 does not"):
        Patches(4, 4).split(torch.zeros(1, 4, 8, 6))


@pytest.mark.parametrize("name", GROUPINGS)
def test_every_place_is_taken_and_places_are_shared_alike(name):
    place = GROUPINGS[name](4, 6, 3)
    assert place.shape == (24, 3)
    counts = place.flatten().bincount()
    assert counts.min() == counts.max() and len(counts) == (3 if name == "frequency" else 24)


def test_groupings_are_what_they_are_called():
    down, up, centre, coarse = (GROUPINGS[name](4, 6, 3) for name in ("rows", "rows-up", "centre", "frequency"))
    assert down[:, 0].tolist() == list(range(24)) and down[:, 0].equal(down[:, 2])
    assert up[:, 0].tolist() == list(range(23, -1, -1))
    first = centre[:, 1].view(4, 6)
    assert sorted(first[1:3, 2:4].flatten().tolist()) == [0, 1, 2, 3]
    edge = torch.ones(4, 6, dtype=torch.bool)
    edge[1:3, 1:5] = False
    assert first[edge].min() > first[~edge].max()
    assert coarse.eq(torch.arange(3)).all()
