"""Pixels: alpha is straight outside and premultiplied inside, and nothing that can be seen is lost between."""

import numpy as np
import pytest
import torch
from PIL import Image

from kiloword.pixels import composite, from_bytes, from_image, psnr, to_image


def image(seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    values[0, :, 3], values[1, :, 3] = 0, 255
    return Image.fromarray(values)


def test_alpha_comes_back_and_colour_as_far_as_it_can_be_seen():
    before, after = np.array(image()).astype(int), np.array(to_image(from_image(image()))).astype(int)
    alpha = before[..., 3]
    assert (after[..., 3] == alpha).all()
    assert (after[alpha == 0] == 0).all()
    assert (after[alpha == 255] == before[alpha == 255]).all()
    seen = np.abs(before - after)[..., :3] * alpha[..., None] / 255
    assert seen.max() <= 1.01


def test_pixels_are_premultiplied_numbers_from_minus_one_to_one():
    pixels = from_image(Image.new("RGBA", (2, 3), (255, 0, 0, 51)))
    assert pixels.shape == (4, 3, 2)
    assert torch.allclose(pixels[:, 0, 0], torch.tensor([-0.6, -1.0, -1.0, -0.6]))
    assert from_bytes(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]


def test_a_picture_without_alpha_is_opaque():
    assert (from_image(Image.new("RGB", (2, 2), "blue"))[3] == 1).all()


def test_resizing_keeps_hidden_colours_hidden():
    picture = Image.new("RGBA", (8, 8), (0, 255, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 4, 8))
    pixels = from_image(picture, (3, 5))
    assert pixels.shape == (4, 3, 5) and (pixels[1] == -1).all()


def test_numbers_out_of_range_are_clipped():
    wild = to_image(torch.tensor([3.0, -3.0, 0.0, 2.0]).view(4, 1, 1))
    assert wild.mode == "RGBA" and wild.getpixel((0, 0)) == (255, 0, 128, 255)
    assert to_image(torch.tensor([1.0, 1.0, 1.0, -1.0]).view(4, 1, 1)).getpixel((0, 0)) == (0, 0, 0, 0)


@pytest.mark.parametrize("background", [-1.0, 0.0, 1.0])
def test_compositing_is_that_of_pillow(background):
    grey = round((background + 1) * 127.5)
    under = Image.new("RGBA", image().size, (grey, grey, grey, 255))
    wanted = from_image(Image.alpha_composite(under, image()))[:3]
    assert (composite(from_image(image()), background) - wanted).abs().max() < 0.02


def test_psnr_is_ten_for_an_error_of_a_tenth_of_the_power_and_one_hundred_for_none():
    clear, white = torch.full((2, 4, 3, 3), -1.0), torch.ones(2, 4, 3, 3)
    assert torch.allclose(psnr(clear, white), torch.tensor(100.0))
    grey = white.clone()
    grey[1, :3] = 1 - 2 * 10**-0.5
    assert torch.allclose(psnr(white, grey), torch.tensor([100.0, 10.0]), atol=1e-4)
