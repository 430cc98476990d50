"""Aliases: whatever an older kiloword wrote down under its own names is read as what it means."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from kiloword import checkpoint
from kiloword.heads.entrance import AxialEntranceConfig, PositionEntranceConfig
from kiloword.orders.raster import RasterConfig
from kiloword.parts import from_json, to_json
from kiloword.prompts.class_buffer import ClassBufferConfig
from kiloword.recipes.dalle import dalle_64
from kiloword.recipes.decoders import decoder_128
from kiloword.recipes.recipe import changed
from kiloword.studies.resume_check import check_resumed
from kiloword.tokenizers.judge import JudgeConfig
from kiloword.tokenizers.vit import ViTConfig
from kiloword.tokens import Categorical
from kiloword.training.state import load_state, save_state
from kiloword.transformer import AdaLNConfig

OLD_MODULES = {
    "output": "exit", "output_modulation": "exit_modulation", "cross_attention": "listening",
    "encoder_positions": "encoder_places", "decoder_positions": "decoder_places", "fine_positions": "fine_places",
    "coarse_positions": "coarse_places", "positions": "places", "position": "place",
}  # fmt: skip


def aged_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights under their old names."""
    return {".".join(OLD_MODULES.get(part, part) for part in name.split(".")): tensors[name] for name in tensors}


def model() -> torch.nn.Module:
    """A model with a module of every old name."""
    head = replace(tiny.HEADS["categorical"], tied=False)
    stack = replace(tiny.INFINITY, modulation=AdaLNConfig())
    judge = JudgeConfig(tiny.words(), tiny.stack(), Categorical(4), tiny.stack(), 9)
    parts = {"head": head, "stack": stack, "masked": tiny.MAR, "judge": judge}
    modules = {name: part.build() for name, part in parts.items()}
    return tiny.awake(
        torch.nn.ModuleDict(modules | {"encoder": ViTConfig(tiny.stack(), tiny.stack()).build_encoder(4)})
    )


def test_weights_are_read_under_their_old_names(tmp_path):
    module, path = model(), tmp_path / "weights.safetensors"
    old = aged_names(module.state_dict())
    modules = {part for name in old for part in name.split(".")}
    assert set(OLD_MODULES.values()) <= modules and not OLD_MODULES.keys() & modules
    save_file({name: value.clone() for name, value in old.items()}, path)
    again = model()
    for parameter in again.parameters():
        torch.nn.init.zeros_(parameter)
    checkpoint.put_weights(again, path)
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in again.state_dict().items())


def test_a_training_goes_on_from_a_state_with_old_names(tmp_path):
    module, path = model(), tmp_path / "state.safetensors"
    average = {name: value * 2 for name, value in module.state_dict().items()}
    save_state(path, module, average, [], {"iteration": 3})
    tensors = load_file(path)
    note = json.dumps({"format": 1, "iteration": 3})
    save_file(aged_names(tensors), path, metadata={"note": note})
    again, found = model(), {name: torch.zeros_like(value) for name, value in average.items()}
    for parameter in again.parameters():
        torch.nn.init.zeros_(parameter)
    assert load_state(path, again, found, [])["iteration"] == 3
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in again.state_dict().items())
    assert all(torch.equal(value, average[name]) for name, value in found.items())


def test_settings_are_changed_under_their_old_names():
    recipe = dalle_64()
    assert changed(recipe, {"both_ways.null": "0.25"}) == changed(recipe, {"task.null": "0.25"}) != recipe
    decoder = decoder_128()
    told = changed(decoder, {"lesson.glance": "0.25"})
    assert told == changed(decoder, {"task.preview": "0.25"}) and told.task.preview == 0.25
    order = RasterConfig(position_of="fed")
    assert changed(order, {"seat": "asked"}) == changed(order, {"position_of": "target"}) == RasterConfig()
    with pytest.raises(ValueError, match="has no field 'glance'"):
        changed(recipe, {"glance": "1"})


def test_values_are_read_under_their_old_names():
    assert from_json({"part": "raster", "path": "rows", "seat": "asked"}) == RasterConfig()
    assert from_json({"part": "raster", "seat": "fed"}) == RasterConfig(position_of="fed")
    assert from_json({"part": "seated-entrance", "places": 4, "scales": 2}) == PositionEntranceConfig(4, 2)
    assert from_json({"part": "raster", "place": "fed"}) == RasterConfig(position_of="fed")
    assert from_json({"part": "class-buffer", "classes": 3, "width": 8, "rows": 4}) == ClassBufferConfig(3, 8, 4)
    judge = JudgeConfig(tiny.words(), tiny.stack(), Categorical(4), tiny.stack(), 9)
    written = to_json(judge)
    assert from_json({**{name: written[name] for name in written if name != "positions"}, "places": 9}) == judge
    axial = AxialEntranceConfig(2, 3)  # it has rows today
    assert from_json({"part": "axial-entrance", "rows": 2, "columns": 3}) == axial
    with pytest.raises(ValueError, match="got 'asked'"):
        RasterConfig(position_of="asked")  # it is read, and never written


def test_a_study_goes_on_that_was_begun_under_old_names(tmp_path):
    path = tmp_path / "run.json"
    told = [
        {"part": "joint", "exit_modulation": {"part": "adaln-exit"}}, {"part": "swiglu", "hidden": 8},
        {"part": "raster", "seat": "asked"},
    ]  # fmt: skip
    path.write_text(json.dumps({"name": "joint", "model": told}))
    head = {"part": "shared-vocab", "output_modulation": {"part": "adaln-output"}}
    order = {"part": "raster", "position_of": "target"}
    check_resumed(path, {"name": "joint", "model": [head, told[1], order]})
    axial = {"name": "axial", "model": {"part": "axial-entrance", "rows": 2, "columns": 3}}
    path.with_name("axial.json").write_text(json.dumps(axial))
    check_resumed(path.with_name("axial.json"), axial)
    with pytest.raises(ValueError, match="was begun with another model: remove it"):
        check_resumed(path, {"name": "joint", "model": [head, {"part": "swiglu", "hidden": 9}, order]})
