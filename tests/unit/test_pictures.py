"""Tests of pictures.py: files that are no picture, or not the kind that is wanted, named with the remedy."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kiloword.pictures import eight_bits, open_picture, read_picture


def save(path: Path, picture: Image.Image | None = None, **more):
    (picture or Image.new("RGB", (4, 3), "red")).save(path, **more)


def test_unreadable_pictures_are_named(tmp_path):
    empty, broken, cut = (tmp_path / name for name in ("empty.png", "broken.png", "cut.png"))
    empty.write_bytes(b"")
    broken.write_bytes(b"no picture at all")
    save(cut, Image.effect_noise((64, 64), 50))
    cut.write_bytes(cut.read_bytes()[:800])
    with pytest.raises(ValueError, match=r"empty.png .*the file is empty.*: replace it"):
        open_picture(empty)
    for path in (broken, cut):
        with pytest.raises(ValueError, match=f"{path.name} is not a picture that can be read"):
            open_picture(path)


def test_pictures_of_enormous_size_are_refused(tmp_path, monkeypatch):
    save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(ValueError, match=r"a.png has 12 pixels, more than 8: make it smaller"):
        open_picture(tmp_path / "a.png")


def test_zero_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="0x3 pixels"):
        eight_bits(Image.new("RGB", (0, 3)))


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="a.gif is animated, only its first frame"):
        assert open_picture(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0, 255)


def test_cmyk_and_palette_and_grey(tmp_path):
    save(tmp_path / "a.jpg", Image.new("CMYK", (4, 4), (0, 0, 0, 0)))
    assert open_picture(tmp_path / "a.jpg").getpixel((0, 0)) == (255, 255, 255, 255)
    save(tmp_path / "b.png", Image.new("LA", (4, 4), (100, 50)))
    assert open_picture(tmp_path / "b.png").getpixel((0, 0)) == (100, 100, 100, 50)
    save(tmp_path / "c.png", Image.new("RGBA", (4, 4), (9, 8, 7, 0)).quantize())
    assert open_picture(tmp_path / "c.png").getpixel((0, 0))[3] == 0


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    save(tmp_path / "a.png", Image.fromarray(np.full((4, 4), 0x80FF, dtype=np.uint16)))
    assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == (128, 128, 128, 255)
    save(tmp_path / "b.tif", Image.fromarray(np.full((4, 4), 1 << 20, dtype=np.int32)))
    with pytest.raises(ValueError, match="not within 16 bits"):
        open_picture(tmp_path / "b.tif")
    save(tmp_path / "c.tif", Image.fromarray(np.zeros((4, 4), dtype=np.float32)))
    with pytest.raises(ValueError, match="floating-point"):
        open_picture(tmp_path / "c.tif")


def test_pictures_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    save(tmp_path / "a.jpg", Image.new("RGB", (8, 4)), exif=exif)
    assert open_picture(tmp_path / "a.jpg").size == (4, 8)


def png(width: int, height: int, depth: int = 8, colours: int = 2, rows: bytes = b"") -> bytes:
    """A PNG file as its header says, whether or not a library would write it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_strict_reader_takes_a_file_as_it_is(tmp_path):
    save(tmp_path / "a.png", Image.new("RGBA", (3, 2), (9, 8, 7, 6)))
    assert read_picture(tmp_path / "a.png").getpixel((0, 0)) == (9, 8, 7, 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.jpg", Image.new("L", (8, 4)), exif=exif)
    upright = read_picture(tmp_path / "a.jpg")
    assert (upright.size, upright.mode) == ((4, 8), "RGBA")
    save(tmp_path / "b.png", Image.new("1", (3, 2), 1))
    assert read_picture(tmp_path / "b.png").getpixel((0, 0)) == (255, 255, 255, 255)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("a.jpg", "CMYK", "a.jpg is in CMYK.*convert it to RGB"),
        ("a.tif", "F", "a.tif is in floating-point.*convert it"),
        ("a.tif", "LAB", "a.tif is in LAB: convert it"),
        ("a.png", "I;16", "a.png has 16 bits a channel.*save it with 8"),
    ],
)
def test_a_strict_reader_refuses_what_it_would_have_to_change(tmp_path, name: str, kind: str, said: str):
    save(tmp_path / name, Image.new(kind, (8, 8)))
    with pytest.raises(ValueError, match=said):
        read_picture(tmp_path / name)


@pytest.mark.parametrize(("colours", "samples"), [(2, 3), (6, 4)])
def test_sixteen_bits_of_colour_are_seen_although_pillow_hides_them(tmp_path, colours: int, samples: int):
    (tmp_path / "a.png").write_bytes(png(2, 2, 16, colours, (b"\0" + bytes(2 * 2 * samples)) * 2))
    assert open_picture(tmp_path / "a.png").size == (2, 2)
    with pytest.raises(ValueError, match="16 bits a channel"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_a_strict_reader_wants_one_picture_a_file(tmp_path, suffix: str):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=rf"a.{suffix} holds 2 pictures.*save the one you mean"):
        read_picture(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize(
    ("name", "content", "size"),
    [
        ("a.png", png(0, 4), "0x4"),
        ("a.gif", b"GIF89a" + struct.pack("<HHBBB", 0, 7, 0, 0, 0) + b";", "0x7"),
        ("a.ppm", b"P6 0 4 255\n", "0x4"),
    ],
)
@pytest.mark.parametrize("read_file", [open_picture, read_picture])
def test_pictures_without_pixels_say_their_size(tmp_path, name: str, content: bytes, size: str, read_file):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} .*it is {size} pixels.*replace it"):
        read_file(tmp_path / name)


def test_a_strict_reader_unpacks_nothing_that_is_too_large(tmp_path):
    for side, limit in ((12000, "89,478,485"), (30000, "178,956,970")):
        (tmp_path / "a.png").write_bytes(png(side, side))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ValueError, match=rf"a.png has {side**2:,} pixels, more than {limit}: make it smaller"):
                read_picture(tmp_path / "a.png")


def test_what_is_no_file_is_said_so(tmp_path):
    with pytest.raises(ValueError, match="is a folder: name a picture file"):
        read_picture(tmp_path)
    with pytest.raises(ValueError, match=r"b.png does not exist: correct its name"):
        read_picture(tmp_path / "b.png")
