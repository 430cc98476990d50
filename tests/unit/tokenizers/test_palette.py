"""Palette: k-means finds colours that are there, ids are the nearest ones, and pixels come back."""

import pytest
import torch

from kiloword.noise import Seeded
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.palette import PaletteConfig, k_means
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.tokens import Layout


def test_k_means_finds_the_clusters():
    generator = torch.Generator().manual_seed(0)
    true = torch.tensor([[-0.8, -0.8, 0.0], [0.9, 0.1, 0.2], [0.0, 0.7, -0.9], [0.5, -0.9, 0.9]])
    pixels = (true[:, None] + 0.02 * torch.randn(4, 200, 3, generator=generator)).flatten(0, 1)
    found = k_means(pixels, 4, 10, Seeded([5]))
    distance, nearest = torch.cdist(true, found).min(1)
    assert distance.max() < 0.01 and sorted(nearest.tolist()) == [0, 1, 2, 3]


def test_more_colours_than_pixels_are_refused():
    with pytest.raises(ValueError, match="palette of 9 colours needs at least as many pixels, got 4"):
        PaletteConfig(9).build().fit(torch.zeros(4, 3))


def test_ids_are_those_of_a_slow_search():
    palette = PaletteConfig(40).build()
    palette.fit(torch.rand(2000, 3) * 2 - 1, rounds=2)
    pixels = torch.rand(2, 3, 5, 7) * 2 - 1
    ids = palette.quantize(pixels, Layout(((5, 7),))).target
    flat = pixels.movedim(1, -1).flatten(0, 2)
    slow = torch.stack([(palette.colours - pixel).square().sum(1).argmin() for pixel in flat])
    assert torch.equal(ids.flatten(), slow)


def test_a_picture_of_palette_colours_comes_back_enlarged():
    tokenizer = AutoencoderConfig(PixelwiseConfig(2, 4), PixelwiseConfig(2, 4), PaletteConfig(6, 4)).build()
    layout = tokenizer.layout(6, 4)
    ids = torch.randint(6, (2, layout.count))
    pixels = tokenizer.decode(ids, layout, torch.ones(2, layout.count, dtype=torch.bool))
    assert pixels.shape == (2, 4, 6, 4)
    assert torch.equal(tokenizer.encode(pixels, layout).target, ids)


def test_networks_of_pixels_say_which_channels_they_need():
    with pytest.raises(ValueError, match="pixels of 3 channels cannot be latents of 5"):
        PixelwiseConfig().build_encoder(5)
