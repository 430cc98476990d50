"""Carrying out the recipe of a diffusion decoder in a folder: pictures, training that resumes, checkpoint.

Ramesh et al. 2022 (DALL-E 2) and OpenAI 2025 for a diffusion decoder behind a prior.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch

from kiloword import checkpoint, parts
from kiloword.data.array import clear
from kiloword.decoders.diffusion_decoder import DiffusionDecoder
from kiloword.decoders.patches import Patches
from kiloword.model import ImageModel
from kiloword.recipes.context import Context
from kiloword.recipes.decoders import DecoderRecipe, decoder_config
from kiloword.recipes.stages import finish
from kiloword.recipes.training_set import Pictures, load_pictures
from kiloword.training.loop import Run
from kiloword.training.tasks.denoising_task import DenoisingTask, left_out

MEASURED = 1024  # pictures from which the width of the noise is estimated


def spread_for(recipe: DecoderRecipe, tokenizer: Any, pictures: Pictures) -> tuple[float, ...]:
    """Width of the noise in each band: the root mean square of what sketches leave out; () without a sketch."""
    if not recipe.sketch:
        return ()
    known = pictures.weights.nonzero()[:, 0]
    some = known[:: max(1, len(known) // MEASURED)][:MEASURED]
    patches = Patches(recipe.patch, tokenizer.channels)
    spread = left_out(tokenizer.eval(), patches, pictures.values[some], recipe.scale)
    return tuple(round(each, 4) for each in spread)


def train_decoder(recipe: DecoderRecipe, data: Path, context: Context, start: str | None = None) -> Path:
    """From a model and pictures to the checkpoint of the model with this decoder, whose folder is returned.

    `start` names the model; if it has a decoder already, that one is trained further.
    """
    source = checkpoint.find(start or recipe.base)
    config, card = checkpoint.read_config(source)
    model = parts.build(config)
    checkpoint.put_weights(model, source / checkpoint.WEIGHTS)
    tokenizer = model.picture.tokenizer
    before = model.pixel_decoder.scale
    torch.manual_seed(recipe.training.seed)
    scale = recipe.scale if config.decoder is None else before
    side, chosen, store = card.sizes[0][0] // before * scale, recipe.data, context.folder / "pictures"
    with context.first_process_first():  # of exactly this side, as bytes: the decoder's targets
        pictures = load_pictures(data, store, side // 2, chosen.toned, chosen.leave_out, chosen.pictures)
    if config.decoder is None:
        config = replace(config, decoder=decoder_config(recipe, tokenizer, spread_for(recipe, tokenizer, pictures)))
        model = ImageModel(model.picture, model.prompt, model.transformer, model.text, parts.build(config.decoder))
    decoder = cast(DiffusionDecoder, model.decoder)
    if context.is_first:
        settings = {**asdict(recipe), "model": parts.to_json(config)}
        (context.folder / "recipe.json").write_text(json.dumps(settings, indent=1) + "\n")
    task = DenoisingTask(decoder, tokenizer, pictures.values, pictures.weights, pictures.held_out, recipe.task)
    finish(Run(task, recipe.training, context.folder / "decoder", context.fabric), "diffusion decoder", context)
    sizes = tuple((h // before * decoder.scale, w // before * decoder.scale) for h, w in card.sizes)
    folder = context.folder / "checkpoint"
    with context.first_process_first():
        if context.is_first:
            judge = checkpoint.load_judge(source)
            checkpoint.save(folder, model.cpu(), replace(card, sizes=sizes), config, judge=judge)
            clear(store)
    return folder
