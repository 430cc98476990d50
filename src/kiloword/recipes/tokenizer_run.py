"""Carrying out the recipe of a tokenizer in a folder: pictures, training that resumes, checkpoint.

Training as in `stages.py`; a palette is fitted at once, as Chen et al. 2020 (Image GPT) do.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from kiloword import checkpoint, parts
from kiloword.checkpoint import TokenizerCard
from kiloword.data.array import clear
from kiloword.recipes.context import Context
from kiloword.recipes.stages import finish, latents
from kiloword.recipes.tokenizers import TokenizerRecipe
from kiloword.recipes.training_set import Pictures, load_pictures
from kiloword.tokenizers.autoencoder import Autoencoder
from kiloword.training.loop import Run
from kiloword.training.tasks.adversarial_task import AdversarialTask
from kiloword.training.tasks.tokenizer_task import TokenizerTask
from kiloword.training.tasks.training_task import TrainingTask

LICENCE = "Apache-2.0; trained on pictures under MIT, Apache-2.0 and CC-BY-4.0 (see NOTICE)"


def train_tokenizer(recipe: TokenizerRecipe, data: Path, context: Context, start: str | None = None) -> Path:
    """Everything from pictures to a tokenizer's checkpoint, whose folder is returned.

    `start` names a tokenizer to go on with: its parts and weights replace those of the recipe.
    """
    torch.manual_seed(recipe.training.seed)
    if start is not None:
        recipe = replace(recipe, tokenizer=checkpoint.read_tokenizer_config(checkpoint.find(start))[0])
    tokenizer = parts.build(recipe.tokenizer)
    if start is not None:
        checkpoint.put_weights(tokenizer, checkpoint.find(start) / checkpoint.WEIGHTS)
    chosen, store = recipe.data, context.folder / "pictures"
    with context.first_process_first():
        pictures = load_pictures(data, store, chosen.side, chosen.toned, chosen.leave_out)
    if context.is_first:
        settings = {**asdict(recipe), "tokenizer": parts.to_json(recipe.tokenizer)}
        (context.folder / "recipe.json").write_text(json.dumps(settings, indent=1) + "\n")
    fit_tokenizer(tokenizer, recipe, pictures, context.at(context.folder / "tokenizer"), "tokenizer")
    folder = context.folder / "checkpoint"
    with context.first_process_first():
        if context.is_first:
            checkpoint.save_tokenizer(folder, tokenizer.cpu(), recipe.tokenizer, card(recipe))
            clear(store)
    return folder


def fit_tokenizer(
    tokenizer: Autoencoder, recipe: TokenizerRecipe, pictures: Pictures, context: Context, stage: str
) -> None:
    """Train a tokenizer to the end of its recipe, or fit it where there is nothing to be trained."""
    if tokenizer.quantizer.fits_at_once:
        tokenizer.quantizer.fit(latents(tokenizer, pictures, recipe.data.side))
        tokenizer.eval()
        return
    run = Run(task_of(tokenizer, recipe, pictures), recipe.training, context.folder, context.fabric)
    finish(run, stage, context)


def task_of(tokenizer: Autoencoder, recipe: TokenizerRecipe, pictures: Pictures) -> TrainingTask:
    """Pictures of the recipe's side, with its errors, and with a critic if that has any weight."""
    config = replace(recipe.reconstruction, side=recipe.data.side)
    error = recipe.perceptual.build(config.error)
    task = TokenizerTask(tokenizer, pictures.values, pictures.weights, pictures.held_out, config, error)
    return AdversarialTask(task, recipe.adversarial) if recipe.adversarial.weight else task


def card(recipe: TokenizerRecipe) -> TokenizerCard:
    """The card of the recipe's tokenizer."""
    return TokenizerCard(recipe.name, LICENCE, recipe.about)
