"""Fitting pictures to tokenizers: sizes, padding, alpha."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from kiloword.engine.fitting import LARGEST, allows, fit, nearest_size, showable
from kiloword.pixels import from_image
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.palette import PaletteConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Categorical, Layout, TokenSpace


@dataclass
class Only(Tokenizer):
    """A tokenizer of as few sizes as it is told, and of nothing else."""

    sizes: tuple[tuple[int, int], ...] | None = None
    stride: int = 16
    channels: int = 4
    space: TokenSpace = Categorical(2)

    def layout(self, height: int, width: int) -> Layout:
        if (height % self.stride or width % self.stride) if self.sizes is None else (height, width) not in self.sizes:
            raise ValueError(f"not {height}x{width}")
        return Layout(((height // self.stride, width // self.stride),))

    def encode(self, pixels, layout, noise=None):
        raise AssertionError

    def decode(self, tokens, layout, known):
        raise AssertionError


def picture(width: int, height: int, mode: str = "RGBA") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def test_a_size_that_is_allowed_stays():
    tokenizer = tiny.autoencoder().build()
    assert nearest_size(tokenizer, 8, 4) == (8, 4) and allows(tokenizer, 8, 4) and not allows(tokenizer, 7, 4)
    fitted = fit(tokenizer, picture(4, 8))
    assert fitted.notice is None and fitted.size == (8, 4) and fitted.box == (0, 0, 8, 4)
    assert torch.equal(fitted.pixels[0], from_image(picture(4, 8)))


@pytest.mark.parametrize(
    ("size", "found"), [((200, 300), (208, 304)), ((5, 5), (16, 16)), ((16, 1000), (16, 1008)), ((100, 16), (96, 16))]
)
def test_other_sizes_become_the_nearest_multiples(size, found):
    assert nearest_size(Only(), *size) == found


def test_a_tokenizer_of_few_sizes_is_given_one_of_them():
    only = Only(((256, 256), (512, 512)))
    assert nearest_size(only, 200, 300) == (256, 256) and nearest_size(only, 500, 490) == (512, 512)
    assert nearest_size(only, 8, 8) == (256, 256)
    with pytest.raises(ValueError, match="no size up to 1024x1024"):
        nearest_size(Only(()), 64, 64)


@pytest.mark.parametrize("size", [(3000, 4000), (1, 10**7), (2048, 2048)])
def test_enormous_pictures_become_small_enough(size):
    height, width = nearest_size(Only(), *size)
    assert height * width <= 1.1 * LARGEST + 16 * max(height, width)
    assert allows(Only(), height, width)


def test_pictures_keep_their_shape_and_padding_is_transparent():
    tokenizer = tiny.autoencoder().build()
    fitted = fit(tokenizer, picture(40, 20, "RGB"), size=(20, 20))
    assert fitted.box == (5, 0, 10, 20) and fitted.before == (20, 40)
    assert fitted.notice == "resized to 20x10 and padded to 20x20"
    alpha = fitted.pixels[0, 3]
    assert (alpha[5:15] == 1).all() and (alpha[:5] == -1).all() and (alpha[15:] == -1).all()
    assert fitted.inside(fitted.pixels).shape == (1, 4, 10, 20)
    assert fit(tokenizer, picture(20, 14), size=(16, 20)).notice == "padded to 20x16"


def test_a_size_that_is_asked_for_is_refused_with_the_numbers():
    with pytest.raises(ValueError, match=r"no pictures of 4x7 pixels: the nearest size is 4x(6|8)"):
        fit(tiny.autoencoder().build(), picture(4, 8), size=(7, 4))


def test_a_size_beyond_all_memory_is_refused():
    with pytest.raises(ValueError, match="1000000x1000000 are more than 16,777,216 pixels"):
        fit(Only(), picture(4, 8), size=(10**6, 10**6))


def test_where_there_is_no_alpha_white_shines_through():
    palette = AutoencoderConfig(PixelwiseConfig(), PixelwiseConfig(), PaletteConfig(4)).build()
    fitted = fit(palette, Image.new("RGBA", (6, 3), (255, 0, 0, 0)), size=(6, 6))
    assert fitted.pixels.shape == (1, 3, 6, 6) and (fitted.pixels == 1).all()
    half = fit(palette, Image.new("RGBA", (6, 6), (0, 0, 0, 128)))
    assert half.pixels.mean().item() == pytest.approx(0, abs=0.01)


def test_what_cannot_be_shown_is_cut_off():
    wild = torch.tensor([2.0, 0.5, -3.0, 0.0]).view(1, 4, 1, 1)
    assert showable(wild).flatten().tolist() == [0.0, 0.0, -1.0, 0.0]
    assert (
        showable(torch.zeros(1, 3, 2, 2)).shape == (1, 4, 2, 2) and (showable(torch.zeros(1, 3, 2, 2))[:, 3] == 1).all()
    )
