"""The small recipes of the field's families: each is a legal combination of parts, and each draws in its own way."""

from dataclasses import replace

import pytest
import torch

from kiloword import parts
from kiloword.orders.draft import DraftConfig
from kiloword.recipes import FAMILIES, families, load, model_run


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
    with pytest.raises(ValueError, match="a diffusion decoder is needed"), torch.device("meta"):
        parts.build(replace(recipe.model, decoder=None))


def test_a_glm_image_draws_a_preview_first():
    recipe = load("emoji-glm")
    assert isinstance(recipe.model.picture.order, DraftConfig)
    assert recipe.reconstruction.draft > 0  # its tokenizer has to know small pictures too
    model = parts.build(recipe.model)
    assert model.picture.tokenizer.layout(64, 64).sizes == ((4, 4), (8, 8))
