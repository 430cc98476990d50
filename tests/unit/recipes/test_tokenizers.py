"""Recipes of tokenizers: all can be built, their numbers agree with what they claim, and they end in a checkpoint."""

import json
from pathlib import Path

import pytest
import torch

import icons
import tiny
from kiloword import parts
from kiloword.checkpoint import load_tokenizer
from kiloword.published.llamagen_vq import VQ8
from kiloword.recipes import registry
from kiloword.recipes import tokenizers as table
from kiloword.recipes.context import alone
from kiloword.recipes.recipe import changed
from kiloword.recipes.recipe_names import SORTS, TOKENIZERS
from kiloword.recipes.tokenizer_run import fit_tokenizer
from kiloword.recipes.training_set import load_pictures
from kiloword.tokenizers.dvae import DVAEConfig
from kiloword.tokenizers.palette import PaletteConfig
from kiloword.tokenizers.vit import ViTConfig
from kiloword.training.loop import Run
from kiloword.training.tasks.adversarial_task import AdversarialTask

STEPS = {"training.iterations": "2", "training.batch": "3", "data.side": "16"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return icons.write_icons(tmp_path_factory.mktemp("icons"), count=9, held_out=3)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of a few numbers, and a palette of a few colours."""
    stack = tiny.vit().fine
    network = ViTConfig(stack, stack, 8, 1, 4)
    monkeypatch.setattr(table, "vit", lambda: (network, network))
    monkeypatch.setitem(table.QUANTIZERS, "palette", PaletteConfig(16, 4))


def carried_out(name: str, data: Path, out: Path, changes: dict | None = None, start: str | None = None) -> Path:
    return registry.run(name, data=data, out=out, changes={**STEPS, **(changes or {})}, start=start)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_recipe_describes_a_tokenizer_of_icons(name: str):
    recipe = registry.load(name)
    assert recipe.name == name and name in registry.names()
    with torch.device("meta"):
        tokenizer = parts.build(recipe.tokenizer)
    layout = tokenizer.layout(64, 64)
    assert layout.sizes[-1] == ((16, 16) if name == "tokenizer-palette" else (8, 8))
    assert parts.from_json(json.loads(json.dumps(parts.to_json(recipe.tokenizer)))) == recipe.tokenizer
    assert recipe.tokenizer.encoder.channels == 4


def test_the_table_and_the_list_agree():
    assert {*SORTS, "palette"} == set(table.QUANTIZERS) and set(table.TASKS) <= set(table.QUANTIZERS)
    with pytest.raises(ValueError, match="no tokenizer recipe 'tokenizer-vqq'"):
        table.tokenizer_recipe("tokenizer-vqq")


def test_quantizers_come_in_lots_of_as_many_bits():
    bits = {name: config.build().space.bits for name, config in table.QUANTIZERS.items()}
    assert {round(bits[name]) for name in ("bsq", "fsq", "gumbel", "vq", "residual", "bsq-scales")} == {10}
    assert {round(bits[name]) for name in ("fsq-4", "rq", "multicode")} == {40}


def test_convolutions_are_as_published():
    encoder, decoder = table.published("vq")
    assert encoder == decoder and (encoder.width, encoder.multipliers) == (VQ8["ch"], VQ8["ch_mult"])
    assert (encoder.blocks, encoder.z) == (VQ8["num_res_blocks"], VQ8["z_channels"])
    assert table.published("gumbel") == (DVAEConfig(channels=4),) * 2
    assert registry.load("tokenizer-gumbel-cnn").reconstruction == table.DVAE


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if not name.endswith("-cnn")])
def test_pictures_in_and_a_checkpoint_out(name: str, folder: Path, tmp_path: Path, small: None):
    checkpoint = carried_out(name, folder, tmp_path / "run")
    tokenizer, card = load_tokenizer(checkpoint)
    layout = tokenizer.layout(16, 16)
    made = tokenizer.encode(torch.zeros(1, 4, 16, 16), layout)
    tokenizer.space.check(made.target)
    assert card.name == name and "CC-BY" in card.licence
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert record["training"]["iterations"] == 2 and record["tokenizer"]["part"] == "autoencoder"
    assert (tmp_path / "run" / "tokenizer" / "losses.jsonl").exists() == (name != "tokenizer-palette")


def test_training_goes_on_from_another_tokenizer(folder: Path, tmp_path: Path, small: None):
    first = carried_out("tokenizer-fsq", folder, tmp_path / "first")
    changes = {"training.optimiser.learning_rate": "1e-9", "training.average": "0"}
    second = carried_out("tokenizer-vq", folder, tmp_path / "second", changes, start=str(first))
    one, two = (load_tokenizer(path)[0].state_dict() for path in (first, second))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_a_palette_is_fitted_to_the_pictures_learned(folder: Path, tmp_path: Path, small: None):
    tokenizer, _ = load_tokenizer(carried_out("tokenizer-palette", folder, tmp_path))
    clear = torch.full((4,), -1.0)
    colours = tokenizer.quantizer.colours
    assert (colours - clear).norm(dim=1).min() < 0.1  # most of each icon's margin
    assert len(torch.unique(colours, dim=0)) == 16


def test_critics_and_perception_are_a_setting(folder: Path, tmp_path: Path, small: None, monkeypatch):
    tasks = []
    monkeypatch.setattr(Run, "train", lambda run, report: tasks.append(run.task))
    carried_out("tokenizer-vq", folder, tmp_path / "a", {"adversarial.weight": "0.8"})
    carried_out("tokenizer-vq", folder, tmp_path / "b")
    assert [isinstance(task, AdversarialTask) for task in tasks] == [True, False]
    with pytest.raises(ValueError, match="is no picture network"):
        carried_out("tokenizer-vq", folder, tmp_path / "c", {"perceptual.model": str(tmp_path)})


def test_a_folder_of_ones_own_holds_some_back(tmp_path: Path, small: None):
    for number in range(5):
        icons.icon(number).save(tmp_path / f"icon_{number}.png")
    pictures = load_pictures(tmp_path, tmp_path / "store", 16)
    assert len(pictures.values) == 5 and len(pictures.held_out) == 1
    assert pictures.weights.sum() == 4 and pictures.weights[pictures.held_out] == 0
    assert carried_out("tokenizer-bsq", tmp_path, tmp_path / "run").name == "checkpoint"


def test_a_temperature_falls_over_the_whole_of_a_recipe(folder: Path, small: None, tmp_path: Path):
    recipe = changed(registry.load("tokenizer-gumbel"), {**STEPS, "training.iterations": "4"})
    tokenizer = parts.build(recipe.tokenizer)
    pictures = load_pictures(folder, tmp_path / "pictures", recipe.data.side)
    fit_tokenizer(tokenizer, recipe, pictures, alone(tmp_path, lambda *_: None), "x")
    assert tokenizer.quantizer.temperature == pytest.approx(1 / 16)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least 8 pixels"):
        table.PicturesConfig(4)
