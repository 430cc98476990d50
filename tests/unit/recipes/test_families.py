"""The small recipes of the field's families: each is a legal combination of parts, and each draws in its own way."""

import json
from dataclasses import replace

import pytest
import torch

import icons
import tiny
from kiloword import checkpoint, parts
from kiloword.orders.draft import DraftConfig
from kiloword.recipes import families, model_run, registry, stages
from kiloword.recipes import tokenizers as table
from kiloword.recipes.recipe_names import FAMILIES
from kiloword.recipes.registry import load
from kiloword.recipes.training_set import load_pictures
from kiloword.tokenizers.vit import ViTConfig

STEPS = {"training.iterations": "2", "training.batch": "3", "training.look_every": "0", "data.side": "16",
         "data.versions": "1", "data.vocabulary": "300", "model.transformer.depth": "1"}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_built_and_written_down(name):
    recipe = load(name)
    assert parts.from_json(parts.to_json(recipe.model)) == recipe.model
    with torch.device("meta"):
        model = parts.build(recipe.model)
    layout = model.picture.tokenizer.layout(recipe.data.side, recipe.data.side)
    schedule = model.picture.order.schedule(layout, 1, None, None)
    assert schedule.start.shape == (1, layout.count)
    assert bool(schedule.known(schedule.steps).all())


def test_the_table_and_the_names_agree():
    assert set(FAMILIES) == set(families.FAMILIES)
    with pytest.raises(ValueError, match=r"no family 'emoji-gan'.*emoji-var"):
        families.family("emoji-gan")


def test_a_metamorph_sees_with_a_small_encoder_draws_with_a_decoder_and_is_not_guided():
    recipe = load("emoji-metamorph")
    assert recipe.model.decoder is not None and model_run.card(recipe).guidance == 1
    assert model_run.card(load("emoji-unitok")).guidance == 3
    with pytest.raises(ValueError, match="without a diffusion decoder"), torch.device("meta"):
        parts.build(replace(recipe.model, decoder=None))


def test_a_glm_image_draws_a_preview_first():
    recipe = load("emoji-glm")
    assert isinstance(recipe.model.picture.order, DraftConfig)
    assert recipe.reconstruction.draft > 0  # its tokenizer has to know small pictures too
    model = parts.build(recipe.model)
    assert model.picture.tokenizer.layout(64, 64).sizes == ((4, 4), (8, 8))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizers' networks of a few numbers."""
    stack = tiny.vit().fine
    network = ViTConfig(stack, stack, 8, 1, 4)
    for module in (table, families):
        monkeypatch.setattr(module, "vit", lambda: (network, network))


def test_a_family_takes_a_tokenizer_that_is_there_as_it_is(tmp_path, small):
    data = icons.write_icons(tmp_path / "icons", count=9, held_out=3)
    steps = {"training.iterations": "1", "training.batch": "3", "data.side": "16"}
    trained = registry.run("tokenizer-vq", data=data, out=tmp_path / "vq", changes=steps)
    reported = []
    folder = registry.run(
        "emoji-llamagen", data=data, out=tmp_path / "run", tokenizer=str(trained), changes=STEPS,
        report=lambda stage, *rest: reported.append(stage),
    )  # fmt: skip
    assert set(reported) == {"pictures encoded", "model"}
    known, _ = checkpoint.load_tokenizer(trained)
    used = checkpoint.load(folder).model.picture.tokenizer
    for name, value in known.state_dict().items():
        assert torch.allclose(used.state_dict()[name], value, rtol=1e-3, atol=1e-3), name  # kept as float16
    again = registry.run(
        "emoji-glm", data=data, out=tmp_path / "glm", tokenizer=str(folder), changes=STEPS
    )  # a model's
    inside = stages.picture_tokenizer(checkpoint.load(again).model)
    assert all(torch.equal(value, used.state_dict()[name]) for name, value in inside.state_dict().items())
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"] == "emoji-llamagen"


def test_a_tokenizer_of_other_tokens_or_in_the_wrong_place_is_refused(tmp_path, small):
    data = icons.write_icons(tmp_path / "icons", count=9, held_out=3)
    steps = {"training.iterations": "1", "training.batch": "3", "data.side": "16"}
    trained = str(registry.run("tokenizer-vq", data=data, out=tmp_path / "vq", changes=steps))
    with pytest.raises(ValueError, match=r"gives Categorical\(size=1024\) of 8x8.*emoji-mar is made for Vector"):
        registry.run("emoji-mar", data=data, out=tmp_path / "mar", tokenizer=trained)
    assert not (tmp_path / "mar").exists()
    with pytest.raises(
        ValueError, match=r"a tokenizer is given to a model that is trained from the start.*tokenizer-kl"
    ):
        registry.run("tokenizer-kl", data=data, out=tmp_path / "kl", tokenizer=trained)
    with pytest.raises(ValueError, match="goes on from emoji-64"):
        registry.run("emoji-64", data=data, out=tmp_path / "on", start="emoji-64", tokenizer=trained)


def test_few_pictures_are_plain_ones_chosen_by_their_keys(tmp_path):
    data = icons.write_icons(tmp_path / "icons", count=9, held_out=3)
    whole, few = load_pictures(data, tmp_path / "all", 16), load_pictures(data, tmp_path / "few", 16, limit=2)
    assert len(whole.values) == 10 and len(few.values) == 4
    assert few.weights.tolist().count(1) == len(few.held_out) == 2
    assert not any(record["skin_tones"] for record in few.metadata)
    again = load_pictures(data, tmp_path / "few", 16, limit=3)
    assert {record["key"] for record in few.metadata} < {record["key"] for record in again.metadata}
    assert len(load_pictures(data, tmp_path / "few", 16, limit=100).values) == 9
    with pytest.raises(ValueError, match="pictures at 0"):
        replace(load("emoji-var").data, pictures=-1)
