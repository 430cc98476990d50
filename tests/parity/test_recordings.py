"""Published systems, rebuilt from their authors' weights, give what their authors' code gave.

Some recordings lie here; where the folder that holds all of them stands beside the repository, all are tried.
"""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kiloword.verification.comparison import verify
from kiloword.verification.recordings import read_settings, recorded

HERE = Path(__file__).parent / "recordings"
ALL = Path(__file__).parents[3] / "shared" / "fixtures"
FOLDERS = [
    folder
    for home in (HERE, ALL)
    for folder in sorted(home.glob("*/"))
    if (folder / "config.json").exists() and recorded(folder.name)
]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_every_recorded_stage_passes(folder):
    torch.manual_seed(0)
    rows = list(verify(folder))
    failed = [f"{row.tensor}: {row.error:.2e}" for row in rows if not row.passed]
    assert rows and not failed
    assert {row.tensor for row in rows} >= outputs(folder)


def outputs(folder: Path) -> set[str]:
    """The recorded tensors that are no inputs and no margins for information."""
    names = load_file(folder / "io.safetensors").keys()
    if any(name.startswith("out.") for name in names):
        return {name for name in names if name.startswith("out.")}
    descriptions = read_settings(folder)["tensors"]
    inputs = {"image", "text_tokens", "vae_features", "cu_seqlens", "logits_positions"}
    inputs |= {name for name in names if name.startswith(("text_", "neg_text_", "bsc_flip_"))}
    inputs |= {name for name in names if descriptions.get(name, "").startswith("information")}
    return set(names) - inputs


def test_another_weight_is_noticed(tmp_path):
    folder = copied("var_quantizer10", tmp_path)
    weights = load_file(folder / "weights.safetensors")
    weights["quantize.embedding.weight"][3] += 1
    save_file(weights, folder / "weights.safetensors")
    assert not all(row.passed for row in verify(folder))


def test_a_missing_weight_is_named(tmp_path):
    folder = copied("var_quantizer10", tmp_path)
    weights = load_file(folder / "weights.safetensors")
    del weights["quantize.embedding.weight"]
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(ValueError, match=r"1 missing \(quantize.embedding.weight\)"):
        list(verify(folder))


def test_a_folder_without_a_recording_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config.json cannot be read"):
        list(verify(tmp_path))
    (tmp_path / "config.json").write_text('{"name": "sora", "config": {}}')
    with pytest.raises(ValueError, match="no page describes 'sora'"):
        list(verify(tmp_path))


def copied(name: str, tmp_path: Path) -> Path:
    folder = tmp_path / name
    shutil.copytree(HERE / name, folder)
    return folder
