"""Tests of datasets/folder.py: a user's own pictures, with errors that name the file and the remedy.

Source: the imagefolder convention of Hugging Face datasets.
"""

import json

import numpy as np
import pytest
from PIL import Image

from kiloword.datasets import folder
from kiloword.datasets.folder import open_picture, read


def save(path, picture=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture or Image.new("RGB", (4, 3), "red")).save(path, **more)


def test_captions_from_names(tmp_path):
    save(tmp_path / "red_apple-on__table.png")
    save(tmp_path / "sub" / "Blue Sky.JPG", format="JPEG")
    save(tmp_path / ".hidden.png")
    (tmp_path / "notes.txt").write_text("no picture")
    found = list(read(tmp_path))
    assert [(sample.key, sample.metadata["caption"]) for sample in found] == [
        ("red_apple-on__table.png", "red apple on table"),
        ("sub/Blue Sky.JPG", "Blue Sky"),
    ]
    assert found[0].picture.mode == "RGBA" and found[0].picture.size == (4, 3)


@pytest.mark.parametrize("field", ["text", "caption"])
def test_jsonl_and_csv(tmp_path, field):
    save(tmp_path / "a.png")
    line = {"file_name": "a.png", field: "an apple, red", "year": "1999"}
    wanted = [("a.png", {"key": "a.png", "caption": "an apple, red", "year": "1999"})]
    listing = tmp_path / "metadata.jsonl"
    listing.write_text(json.dumps(line) + "\n\n")
    assert [(sample.key, sample.metadata) for sample in read(tmp_path)] == wanted
    listing.unlink()
    (tmp_path / "metadata.csv").write_text(f'\ufefffile_name,{field},year\na.png,"an apple, red",1999\n')
    assert [(sample.key, sample.metadata) for sample in read(tmp_path)] == wanted


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ('{"file_name": "a.png", "text": "x"}\n{oops', r"metadata.jsonl, line 2 is not JSON"),
        ('{"text": "x"}', r'line 1 has no "file_name"'),
        ('{"file_name": "a.png", "text": ""}', r'line 1 \(a.png\) has no caption: fill in "text"'),
        ('{"file_name": "gone.png", "text": "x"}', r"gone.png does not exist: correct its name"),
        ("\n", r"lists no pictures"),
    ],
)
def test_faults_of_a_listing_are_named(tmp_path, listing, message):
    save(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text(listing)
    with pytest.raises(ValueError, match=message):
        list(read(tmp_path))


def test_faults_of_a_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no pictures .* below"):
        list(read(tmp_path))
    with pytest.raises(ValueError, match="is not a folder"):
        list(read(tmp_path / "nowhere"))
    (tmp_path / "metadata.jsonl").write_text("")
    (tmp_path / "metadata.csv").write_text("")
    with pytest.raises(ValueError, match="holds both"):
        list(read(tmp_path))
    save(tmp_path / "other" / "__.png")
    with pytest.raises(ValueError, match="has no words in its name"):
        list(read(tmp_path / "other"))


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
    with pytest.raises(ValueError, match=r"a.png has more than 8 pixels: make it smaller"):
        open_picture(tmp_path / "a.png")


def test_zero_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="0x3 pixels"):
        folder._eight_bits(Image.new("RGB", (0, 3)))


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
