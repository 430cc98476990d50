"""Clean-up: what becomes of transparency; how a picture gets there is tested with the command."""

import torch

import icons
from kiloword.engine.cleaning import transparent_as
from kiloword.pixels import composite, from_image


def test_opacity_after_cleaning():
    before = from_image(icons.icon(3, 16))
    assert torch.allclose(transparent_as(before, before), before, atol=1e-6)
    assert torch.allclose(transparent_as(before, composite(before)), before, atol=1e-6)  # painted in RGB, over white
    opaque = torch.full((4, 2, 2), 1.0)
    opaque[:3] = 0.25
    hole = torch.full((4, 2, 2), -1.0)
    assert torch.allclose(transparent_as(opaque, hole), opaque)
    half = torch.tensor([0.0, -1.0, -1.0, 0.0])[:, None, None].expand(4, 2, 2)  # red, half transparent
    expected = torch.tensor([0.625, -0.375, -0.375, 1.0])[:, None, None].expand(4, 2, 2)
    assert torch.allclose(transparent_as(opaque, half), expected)
