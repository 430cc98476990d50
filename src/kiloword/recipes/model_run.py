"""Carrying out a model's recipe in a folder: pictures, tokenizer, tokens, model, checkpoint; every stage resumes.

Source: defined here; the stages cite their papers.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from kiloword import checkpoint, parts
from kiloword.data import dialogue
from kiloword.data.array import clear
from kiloword.engine.card import Card
from kiloword.model import ImageModel
from kiloword.orders.denoise import DenoiseConfig
from kiloword.parts import ImageModelConfig
from kiloword.recipes.context import Context
from kiloword.recipes.recipe import Recipe
from kiloword.recipes.stages import (
    inner,
    picture_tokenizer,
    train_decoder,
    train_judge,
    train_model,
    train_tokenizer,
)
from kiloword.recipes.training_set import Pictures, load_pictures
from kiloword.recipes.vocabulary import check_lengths, with_vocabulary
from kiloword.tokenizers.directions import DirectionsConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokenizers.tokenizer import TokenizerConfig

OPEN = "Apache-2.0; trained on pictures under MIT, Apache-2.0 and CC-BY-4.0 (see NOTICE)"
OWN = "that of the pictures that it was trained on"


def train_recipe(
    recipe: Recipe, data: Path, context: Context, start: str | None = None, tokenizer: str | None = None
) -> Path:
    """Everything from pictures to a checkpoint folder, which is returned.

    `start` names a checkpoint to go on with: its parts and weights replace those of the recipe, and its tokenizer
    is not trained again. `tokenizer` names one that replaces that of the recipe, and is not trained again either.
    """
    if tokenizer is not None:
        recipe = with_tokenizer(recipe, checkpoint.read_tokenizer_config(checkpoint.find(tokenizer))[0])
    out, chosen = context.folder, recipe.data
    store = out / "pictures"
    with context.first_process_first():
        pictures = load_pictures(data, store, chosen.side, chosen.toned, chosen.leave_out, chosen.pictures)
    if context.is_first:
        settings = {"recipe": recipe.name, "model": parts.to_json(recipe.model), "training": asdict(recipe.training)}
        (out / "recipe.json").write_text(json.dumps(settings, indent=1) + "\n")
    torch.manual_seed(recipe.training.seed)
    model, config = _begun(recipe, pictures, context, start, tokenizer)
    tokens = train_model(model, recipe, pictures, context)
    train_decoder(model, recipe, pictures, context)
    judge = None if start is None else checkpoint.load_judge(checkpoint.find(start))
    if recipe.judge is not None and judge is None:
        judge = train_judge(recipe.judge, config, recipe, pictures, tokens, context)
    folder = out / "checkpoint"
    with context.first_process_first():
        if context.is_first:
            model_card = card(recipe, pictures, model.pixel_decoder.scale)
            checkpoint.save(folder, model, model_card, config, judge=judge)
            clear(store)  # they can be made again, and are larger than all the rest
    return folder


def _begun(
    recipe: Recipe, pictures: Pictures, context: Context, start: str | None, tokenizer: str | None
) -> tuple[ImageModel, ImageModelConfig]:
    """The model with a trained tokenizer."""
    if start is not None:
        source = checkpoint.find(start)
        config, _ = checkpoint.read_config(source)
        model = parts.build(config)
        checkpoint.put_weights(model, source / checkpoint.WEIGHTS)
        check_lengths(config, pictures.metadata, recipe.task.describe > 0)
        return model, config
    config = with_vocabulary(recipe, pictures.metadata)
    check_lengths(config, pictures.metadata, recipe.task.describe > 0)
    model = parts.build(config)
    if tokenizer is None:
        train_tokenizer(model, recipe, pictures, context)
    else:
        known, _ = checkpoint.load_tokenizer(tokenizer)
        picture_tokenizer(model).eval().load_state_dict(inner(known).state_dict())
    return model, config


def with_tokenizer(recipe: Recipe, tokenizer: TokenizerConfig) -> Recipe:
    """The recipe with another picture tokenizer, wrapped as its first one is. Raises ValueError for other tokens."""
    current, tokenizer = recipe.model.picture.tokenizer, inner(tokenizer)
    wraps = isinstance(current, PyramidConfig | DirectionsConfig)
    wrapped = replace(current, tokenizer=tokenizer) if wraps else tokenizer
    with torch.device("meta"):
        known, wanted = wrapped.build(), current.build()
    if (known.space, known.stride, known.channels) != (wanted.space, wanted.stride, wanted.channels):
        facts = [f"{t.space} of {t.stride}x{t.stride} pixels in {t.channels} channels" for t in (known, wanted)]
        raise ValueError(f"this tokenizer gives {facts[0]}, {recipe.name} is made for {facts[1]}")
    return replace(recipe, model=replace(recipe.model, picture=replace(recipe.model.picture, tokenizer=wrapped)))


def card(recipe: Recipe, pictures: Pictures | None = None, scale: int = 1) -> Card:
    """The card of the recipe's model: one that was never trained without prompts is not guided.

    Without pictures, of the emoji set. A model that was there before may have a decoder, which draws `scale` times as
    large.
    """
    side, guidance = scale * recipe.data.side, 3.0 if recipe.task.null else 1.0
    denoises = isinstance(recipe.model.picture.order, DenoiseConfig)  # the noise has the width that it was trained with
    styles = {style: said for style, said in dialogue.PHRASES.items() if style not in recipe.data.leave_out}
    emoji = pictures is None or dialogue.is_emoji(pictures.metadata[0])
    return Card(
        recipe.name, ((side, side),), styles if emoji else {}, guidance=guidance,
        temperature=1.0 if denoises else 0.5, licence=OPEN if emoji else OWN, about=recipe.about,
    )  # fmt: skip
