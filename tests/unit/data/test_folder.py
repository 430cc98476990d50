"""Tests of data/folder.py: a user's own pictures, with errors that name the file and the remedy.

Source: the imagefolder convention of Hugging Face datasets.
"""

import json

import pytest
from PIL import Image

from kiloword.data.folder import read


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
