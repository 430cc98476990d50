"""Tests of evaluation/image_set.py: pictures as the model sees them, and the same prompts for the same seed."""

import json

import pytest
import torch
from PIL import Image

from kiloword.data.shards import METADATA, write_metadata
from kiloword.evaluation.image_set import fitted, key_hash, load_image_set, to_bytes


def test_the_album_has_every_picture_with_its_metadata(data):
    progress_calls = []
    image_set = load_image_set(data, (8, 8), lambda *call: progress_calls.append(call))
    names = [json.loads(line)["key"] for line in (data / METADATA).read_text().splitlines()]
    assert [record["key"] for record in image_set.metadata] == names
    assert image_set.pixels.shape == (len(names), 4, 8, 8) and image_set.pixels.dtype == torch.uint8
    assert sum(image_set.counts("split").values()) == len(names) and "keywords" not in image_set.metadata[0]


def test_pictures_shrink_by_area_means_of_premultiplied_colours():
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    image.putpixel((0, 0), (200, 100, 0, 255))
    assert fitted(image, (1, 1)).flatten().tolist() == [50, 25, 0, 64]
    assert fitted(image, (4, 4)).shape == (4, 4, 4)
    assert fitted(image, (2, 2))[:, 0, 1].tolist() == [0, 0, 0, 0]


def test_the_choice_depends_on_seed_and_key_alone(image_set):
    chosen = image_set.choose("train", ["3d", "flat", "noto"], 8, seed=3)
    assert chosen == image_set.choose("train", ["noto", "flat", "3d"], 8, seed=3)
    assert chosen[:4] == image_set.choose("train", ["3d", "flat", "noto"], 4, seed=3)
    assert chosen != image_set.choose("train", ["3d", "flat", "noto"], 8, seed=4)
    records = [image_set.metadata[index] for index in chosen]
    assert all(record["split"] == "train" and not record["skin_tones"] for record in records)
    assert {image_set.metadata[index]["style"] for index in image_set.choose("held_out", ["flat"], 9, 0)} == {"flat"}


def test_a_draw_is_a_seed():
    assert 0 <= key_hash(0, "a") < 2**31 and key_hash(0, "a") == key_hash(0, "a") != key_hash(1, "a")


def test_bytes_hold_no_colour_above_its_alpha():
    pixels = torch.tensor([3.0, 0.0, -1.0, 0.0]).view(1, 4, 1, 1)
    assert to_bytes(pixels).flatten().tolist() == [128, 128, 0, 128]


def test_another_kind_of_set_is_refused(tmp_path):
    write_metadata(tmp_path, [{"key": "a", "caption": "b"}])
    with pytest.raises(ValueError, match="base, code, group, skin_tones, split, style: it is not an emoji set"):
        load_image_set(tmp_path, (8, 8))
