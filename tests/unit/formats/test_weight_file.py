"""Foreign files: every kind gives the same weights, wherever they are nested, and none of them runs code."""

import json
import os
import pickle
from argparse import Namespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import pickles
from kiloword.formats.weight_file import read

WEIGHTS = {"a.w": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}


def same(found: dict, wanted: dict = WEIGHTS) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_every_kind_of_file_gives_the_same_weights(tmp_path):
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    torch.save(WEIGHTS, tmp_path / "w.pt")
    torch.save(WEIGHTS, tmp_path / "w.ckpt", _use_new_zipfile_serialization=False)
    pickles.save_module(tmp_path / "w.pkl", {"a.w": WEIGHTS["a.w"]}, "Encoder")
    for name in ("w.safetensors", "w.pt", "w.ckpt"):
        assert same(read(tmp_path / name))
    assert same(read(tmp_path / "w.pkl"), {"a.w": WEIGHTS["a.w"]})
    parted = read(tmp_path / "w.pt", part="encoder")
    assert parted.keys() == {"encoder.a.w", "encoder.b"}


@pytest.mark.parametrize(
    "nested", [{"model": WEIGHTS, "step": 7}, {"trainer": {"vae": WEIGHTS}, "args": Namespace(lr=1e-4)}, WEIGHTS]
)
def test_weights_are_found_under_their_keys_or_flat(tmp_path, nested):
    torch.save(nested, tmp_path / "w.pth")
    under = ("model",) if "model" in nested else ("trainer", "vae")
    assert same(read(tmp_path / "w.pth", under))


def test_arrays_and_settings_are_palettes(tmp_path):
    palette = np.array([[0.5, -1, 1], [0, 0, 0]], dtype=np.float32)
    np.save(tmp_path / "p.npy", palette)
    (tmp_path / "p.json").write_text(json.dumps({"clusters": palette.tolist(), "size": 32}))
    for name in ("p.npy", "p.json"):
        assert same(read(tmp_path / name), {"clusters": torch.from_numpy(palette)})
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"o.npy is not a whole array file without pickled objects"):
        read(tmp_path / "o.npy")


class Attack:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.ckpt", "w.bin", "w.pkl"])
@pytest.mark.parametrize("how", ["archive", "older", "bare"])
def test_a_file_that_would_run_a_command_is_refused(tmp_path, name, how):
    path, mark = tmp_path / name, tmp_path / "ran"
    values = {"model": {**WEIGHTS, "x": Attack(mark)}}
    if how == "bare":
        path.write_bytes(pickle.dumps(values))
    else:
        torch.save(values, path, _use_new_zipfile_serialization=how == "archive")
    with pytest.raises(ValueError, match=name) as raised:
        read(path, ("model",))
    said = str(raised.value)
    assert not mark.exists() and "\n" not in said and "weights_only" not in said
    assert how == "bare" or "asks for posix.system: refused" in said


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pkl", "w.npy", "w.json"])
def test_files_that_are_cut_short_or_of_another_kind(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(ValueError, match="there is no file"):
        read(path)
    for content in (b"", b"hello", b"\x80\x02}", b"PK\x03\x04" + bytes(40)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=name) as raised:
            read(path)
        assert "\n" not in str(raised.value)
    if name in ("w.safetensors", "w.pt"):
        save_file(WEIGHTS, path) if name == "w.safetensors" else torch.save(WEIGHTS, path)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(ValueError, match=name):
            read(path)


def test_files_without_weights(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt holds a list, not weights"):
        read(tmp_path / "list.pt")
    torch.save({"step": 3}, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match=r"empty\.pt holds no weights under model"):
        read(tmp_path / "empty.pt", ("model",))
