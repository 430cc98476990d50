"""The pictures of a study: the same in any order, read once, and none is both for training and held out."""

from pathlib import Path

import numpy as np
import pytest
import torch

import icons
from kiloword.data.shards import write_metadata
from kiloword.studies import subset as module
from kiloword.studies.subset import chosen, subset
from kiloword.training.augmentation import to_bytes


def nobody(done: int, total: int) -> None:
    pass


def test_pictures_to_learn_come_first_and_the_others_are_held_out(folder: Path, tmp_path: Path):
    found = subset(folder, chosen(folder, 10, 4), 12, tmp_path / "pictures.npy", nobody)
    assert found.values.shape == (14, 4, 24, 24) and found.values.dtype == torch.uint8
    assert [record["split"] for record in found.metadata] == ["train"] * 10 + ["held_out_pair"] * 4
    assert found.weights.tolist() == [1.0] * 10 + [0.0] * 4
    assert found.held_out.tolist() == [10, 11, 12, 13]
    for record, values in zip(found.metadata, found.values, strict=True):
        assert torch.equal(values, to_bytes(icons.icon(int(record["key"][-3:])), 24))


def test_keys_alone_choose(tmp_path: Path):
    def found_in(records: list[dict], learned: int, held_out: int) -> list[dict]:
        write_metadata(tmp_path, records)
        return chosen(tmp_path, learned, held_out)

    records = [{"key": f"{n}", "split": "train" if n % 3 else "held_out_subject"} for n in range(30)]
    toned = {"key": "0-dark", "skin_tones": ["dark"]}
    found = found_in(records, 8, 5)
    assert found_in([toned, *records[::-1]], 8, 5) == found
    assert len({record["key"] for record in found}) == 13
    assert found_in(records, 7, 4) == [*found[:7], *found[8:12]]
    assert len(found_in(records, 100, 100)) == 30


def test_only_pictures_of_some_styles_are_chosen(tmp_path: Path):
    splits = {number: "train" if number > 9 else "held_out_pair" for number in range(30)}
    records = [{"key": f"{n}", "style": ("flat", "3d")[n % 2], "split": split} for n, split in splits.items()]
    write_metadata(tmp_path, records)
    found = chosen(tmp_path, 100, 100, ("3d",))
    assert {record["key"] for record in found} == {f"{n}" for n in range(1, 30, 2)}
    assert found[0]["translations"] == {} and found[0]["base"] == ""  # defaults of fields that a set does not have
    with pytest.raises(ValueError, match="0 pictures to learn and 0 held out in the style noto"):
        chosen(tmp_path, 100, 100, ("noto",))


def test_pictures_are_read_once_and_anew_when_others_are_wanted(folder: Path, tmp_path: Path, monkeypatch):
    path = tmp_path / "pictures.npy"
    first = subset(folder, chosen(folder, 10, 4), 12, path, nobody).values.clone()
    monkeypatch.setattr(module.shards, "members", lambda shard: pytest.fail("read again"))
    assert torch.equal(subset(folder, chosen(folder, 10, 4), 12, path, nobody).values, first)
    monkeypatch.undo()
    assert len(subset(folder, chosen(folder, 5, 2), 12, path, nobody).values) == 7
    assert len(np.load(path)) == 7
    assert subset(folder, chosen(folder, 5, 2), 8, path, nobody).values.shape[-1] == 16  # another side


def test_a_folder_must_hold_both_sorts_and_what_it_lists(tmp_path: Path):
    with pytest.raises(ValueError, match="4 pictures to learn and 0 held out"):
        chosen(icons.write_icons(tmp_path / "all", 4, 0), 3, 2)
    broken = icons.write_icons(tmp_path / "broken", 6, 2)
    (broken / "shard-00001.tar").unlink()
    with pytest.raises(ValueError, match=r"of 6 pictures listed in .*broken are not in its shards"):
        subset(broken, chosen(broken, 9, 9), 12, tmp_path / "b.npy", nobody)
    assert not (tmp_path / "b.npy").exists()
