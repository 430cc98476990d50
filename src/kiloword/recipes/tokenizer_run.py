"""Carrying out the recipe of a tokenizer in a folder: pictures, training that resumes, checkpoint.

Training as in `recipes/model_run.py`; a palette is fitted at once, as Chen et al. 2020 (Image GPT) do.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from kiloword import checkpoint, parts
from kiloword.checkpoint import TokenizerCard
from kiloword.datasets import folder as pictures_folder
from kiloword.recipes.model_run import Pictures, Report, fabric, finish, latents, load_pictures
from kiloword.recipes.tokenizers import PicturesConfig, TokenizerRecipe
from kiloword.tokenizers.autoencoder import Autoencoder
from kiloword.training.augmentation import to_bytes
from kiloword.training.loop import Run
from kiloword.training.tasks.adversarial_task import AdversarialTask
from kiloword.training.tasks.tokenizer_task import TokenizerTask
from kiloword.training.tasks.training_task import TrainingTask

LICENCE = "Apache-2.0; trained on pictures under MIT, Apache-2.0 and CC-BY-4.0 (see NOTICE)"
HELD_OUT = 0.05  # share of a user's own pictures that are for judging only


def train_tokenizer(recipe: TokenizerRecipe, data: Path, out: Path, report: Report, start: str | None = None) -> Path:
    """Everything from pictures to a tokenizer's checkpoint, whose folder is returned.

    `start` names a tokenizer to go on with: its parts and weights stand in for the recipe's own.
    """
    torch.manual_seed(recipe.training.seed)
    if start is not None:
        recipe = replace(recipe, tokenizer=checkpoint.read_tokenizer_config(checkpoint.find(start))[0])
    tokenizer = parts.build(recipe.tokenizer)
    if start is not None:
        checkpoint.put_weights(tokenizer, checkpoint.find(start) / checkpoint.WEIGHTS)
    pictures = pictures_of(data, recipe.data)
    out.mkdir(parents=True, exist_ok=True)
    settings = {**asdict(recipe), "tokenizer": parts.to_json(recipe.tokenizer)}
    (out / "recipe.json").write_text(json.dumps(settings, indent=1) + "\n")
    fit_tokenizer(tokenizer, recipe, pictures, out / "tokenizer", "tokenizer", report)
    folder = out / "checkpoint"
    checkpoint.save_tokenizer(folder, tokenizer.cpu(), recipe.tokenizer, card(recipe))
    return folder


def fit_tokenizer(
    tokenizer: Autoencoder, recipe: TokenizerRecipe, pictures: Pictures, folder: Path, stage: str, report: Report
) -> None:
    """Train a tokenizer to the end of its recipe, or fit it where there is nothing to be trained."""
    if tokenizer.quantizer.fits_at_once:
        tokenizer.quantizer.fit(latents(tokenizer, pictures, recipe.data.side))
        tokenizer.eval()
        return
    finish(Run(task_of(tokenizer, recipe, pictures), recipe.training, folder, fabric()), stage, report)


def task_of(tokenizer: Autoencoder, recipe: TokenizerRecipe, pictures: Pictures) -> TrainingTask:
    """Pictures of the recipe's side, with its errors, and with a critic if that has any weight."""
    config = replace(recipe.reconstruction, side=recipe.data.side)
    error = recipe.perceptual.build(config.error)
    task = TokenizerTask(
        tokenizer, pictures.values, pictures.weights, pictures.held_out, config, error, recipe.training.iterations
    )
    return AdversarialTask(task, recipe.adversarial) if recipe.adversarial.weight else task


def pictures_of(data: Path, config: PicturesConfig) -> Pictures:
    """The pictures of a shard folder, or of a folder of a user's own, of which a few are held out."""
    if any(data.glob("shard-*.tar")) or not data.is_dir():
        return load_pictures(data, config.side, config.toned, config.leave_out)
    samples = list(pictures_folder.read(data))
    values = torch.stack([to_bytes(sample.picture, 2 * config.side) for sample in samples])
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    held_out = order[: max(1, round(len(values) * HELD_OUT))]
    weights = torch.ones(len(values))
    if len(values) > 1:
        weights[held_out] = 0
    return Pictures(values, [sample.metadata for sample in samples], weights, held_out)


def card(recipe: TokenizerRecipe) -> TokenizerCard:
    """What a user has to know of the recipe's tokenizer."""
    return TokenizerCard(recipe.name, LICENCE, recipe.about)
