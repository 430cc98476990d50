"""Weights in several safetensors files: all are read by way of their index, and what is wrong is named."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kiloword.formats.sharded import read_sharded, shards_of
from kiloword.formats.weight_file import read
from kiloword.published.fetch import fetch
from kiloword.published.page import File

INDEX = "model.safetensors.index.json"


def written(folder: Path, shards: dict[str, dict[str, torch.Tensor]]) -> Path:
    """Some shards and their index."""
    for name, tensors in shards.items():
        save_file(tensors, folder / name)
    where = {key: name for name, tensors in shards.items() for key in tensors}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 3}, "weight_map": where}))
    return folder / INDEX


SHARDS = {"a-1.safetensors": {"x": torch.ones(2), "y": torch.zeros(3)}, "a-2.safetensors": {"z": torch.arange(4.0)}}


def test_all_shards_are_read(tmp_path):
    found = read(written(tmp_path, SHARDS))
    assert sorted(found) == ["x", "y", "z"] and torch.equal(found["z"], torch.arange(4.0))


def test_the_hub_is_asked_for_the_shards_that_the_index_names(tmp_path, monkeypatch):
    requested, index = [], written(tmp_path, SHARDS)

    def from_hub(file: File) -> Path:
        requested.append((file.repository, file.name))
        return index.with_name(file.name)

    monkeypatch.setattr("kiloword.published.fetch._from_hub", from_hub)
    assert fetch(File(INDEX, "some/one"), tmp_path) == index
    assert requested == [("some/one", name) for name in (INDEX, "a-1.safetensors", "a-2.safetensors")]
    assert fetch(File("a-1.safetensors", "some/one"), tmp_path).name == "a-1.safetensors" and len(requested) == 4


def test_missing_damaged_and_strange_files_are_named(tmp_path):
    index = written(tmp_path, SHARDS)
    (tmp_path / "a-2.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"a-2.safetensors is not a whole safetensors file: fetch it again"):
        read_sharded(index)
    (tmp_path / "a-2.safetensors").unlink()
    with pytest.raises(ValueError, match=r"names a-2.safetensors, which is not beside it: put it there"):
        read_sharded(index)
    for text, reason in (
        ("[", "is no index"), ("{}", "is no index"), ('{"weight_map": []}', "is no index"),
        ('{"weight_map": {}}', "names 'no files'"), ('{"weight_map": {"x": "../../x"}}', "names '../../x'"),
    ):  # fmt: skip
        index.write_text(text)
        with pytest.raises(ValueError, match=reason):
            shards_of(index)
