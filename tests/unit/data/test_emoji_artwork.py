"""Tests of data/emoji/artwork.py and render.py: names become code sequences, drawings become pictures.

Source: file names as they stand in the packages.
"""

import io

import pytest
from PIL import Image

from kiloword.data.emoji.artwork import normal_code, open_package
from kiloword.data.emoji.render import is_blank, png, render


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("1F34E", "1f34e"),
        ("a9", "00a9"),
        ("0023-fe0f-20e3", "0023-20e3"),
        ("23-20e3", "0023-20e3"),
        ("1f469_1f3fb_200d_2708_fe0f", "1f469-1f3fb-200d-2708"),
        ("1f3f4-e0067-e0062-e0065-e006e-e0067", "1f3f4-e0067-e0062-e0065-e006e-e0067-e007f"),
        ("1f3f4-e0067-e0062-e0065-e006e-e0067-e007f", "1f3f4-e0067-e0062-e0065-e006e-e0067-e007f"),
        ("1f3f4", "1f3f4"),
    ],
)
def test_normal_code(name, code):
    assert normal_code(name) == code


def test_unreadable_package_says_what_to_do(tmp_path):
    path = tmp_path / "broken.tgz"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="delete it and build again"):
        open_package(path)


def square_svg(attributes: str = "", width: int = 32) -> bytes:
    space = 'xmlns="http://www.w3.org/2000/svg"'
    red = f'<rect width="{width}" height="16" fill="red" {attributes}/>'
    return f'<svg {space} viewBox="0 0 {width} 32">{red}</svg>'.encode()


def test_svg_has_the_size_asked_for_and_crisp_colours():
    picture = render(square_svg(), 16)
    assert picture.size == (16, 16) and picture.mode == "RGBA"
    assert picture.getpixel((8, 4)) == (255, 0, 0, 255) and picture.getpixel((8, 12))[3] == 0


def test_oblong_drawings_are_centred_in_a_square():
    picture = render(square_svg(width=64), 16)
    assert picture.size == (16, 16) and picture.getbbox() == (0, 4, 16, 8)


def test_shrinking_leaves_no_dark_fringe():
    large = Image.new("RGBA", (64, 64))  # transparent black around a white disc
    large.paste((255, 255, 255, 255), (17, 17, 47, 47))
    file = io.BytesIO()
    large.save(file, "WEBP", lossless=True)
    seen = [pixel[:3] for pixel in render(file.getvalue(), 16).get_flattened_data() if pixel[3] > 40]
    assert min(min(pixel) for pixel in seen) >= 250


def test_blank_pictures_are_known():
    assert is_blank(render(square_svg('fill-opacity="0.01"'), 32))
    assert not is_blank(render(square_svg(), 32))


def test_equal_pictures_give_equal_files():
    assert png(render(square_svg(), 32)) == png(render(square_svg(), 32))
