"""Recordings on disk: the authors' weights come from one file or several, and every proof is of a page."""

import pytest
import torch
from safetensors.torch import save_file

from bundles import bundle
from kiloword import published
from kiloword.verification.proof import Proof
from kiloword.verification.recordings import RECORDED, proof_of, read_weights, recorded

WEIGHTS = {"a.w": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}


def same(found: dict, wanted: dict = WEIGHTS) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_weights_of_one_file_and_of_several(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "two.safetensors")
    assert same(read_weights(tmp_path, {"weights_files": {"vae": "two.safetensors"}}), {"w": torch.ones(1)})
    settings = {"weights_files": {"decoder": "two.safetensors", "encoder": "two.safetensors"}}
    assert read_weights(tmp_path, settings).keys() == {"encoder.w", "decoder.w"}


def test_a_tensorflow_checkpoint_is_read_where_there_are_no_safetensors(tmp_path):
    bundle(WEIGHTS, 2).write(tmp_path / "model.ckpt-7")
    for name in ("model.ckpt-7.index", "model.ckpt-7.*"):
        assert same(read_weights(tmp_path, {"weights_files": {"tf_checkpoint": name}}))
    save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors")
    settings = {"weights_files": {"weights": "w.safetensors", "tf_checkpoint": "model.ckpt-7.*"}}
    assert read_weights(tmp_path, settings).keys() == {"w"}


@pytest.mark.parametrize("name", RECORDED)
def test_every_proof_is_of_a_page_and_found_by_its_recordings(name):
    page, prefixes = published.page(name), RECORDED[name][1]
    assert isinstance(proof_of(page), Proof)
    assert all(page in recorded(f"{prefix}_more") for prefix in prefixes)
