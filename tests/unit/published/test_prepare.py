"""Pictures made ready: the short side resized, the middle kept, transparency laid over the grey of the page."""

import numpy as np
import pytest
from PIL import Image

from kiloword.published.page import Preparation
from kiloword.published.prepare import prepare


@pytest.mark.parametrize("size", [(64, 64), (100, 40), (31, 77), (8, 9), (1, 500)])
@pytest.mark.parametrize("enlarge", [1.0, 1.125])
def test_a_square_comes_out(size, enlarge):
    picture = Image.new("RGBA", size, (10, 20, 30, 255))
    ready = prepare(picture, Preparation(size=32, enlarge=enlarge))
    assert ready.size == (32, 32) and ready.mode == "RGB" and ready.getpixel((16, 16)) == (10, 20, 30)


def test_without_a_size_it_stays_as_large_as_it_was():
    assert prepare(Image.new("RGBA", (20, 31)), Preparation()).size == (20, 31)


def test_it_is_the_middle_that_stays():
    values = np.zeros((20, 60, 3), np.uint8)
    values[:, 20:40] = 255
    ready = np.asarray(prepare(Image.fromarray(values), Preparation(size=20)))
    assert (ready == 255).all()
    cut = np.asarray(prepare(Image.fromarray(values), Preparation(size=10, enlarge=2.0)))
    assert cut.shape == (10, 10, 3) and (cut == 255).all()


def test_what_is_transparent_becomes_the_grey():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert prepare(clear, Preparation()).getpixel((0, 0)) == (255, 255, 255)
    assert prepare(clear, Preparation(background=0.5)).getpixel((0, 0)) == (128, 128, 128)


def test_the_filter_is_the_pages():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for name in ("LANCZOS", "BICUBIC"):
        wanted = noise.resize((16, 16), Image.Resampling[name])
        assert np.array_equal(np.asarray(prepare(noise, Preparation(size=16, filter=name))), np.asarray(wanted))
