"""The stages of a training, one function each: tokenizer, model, decoder, judge; every one resumes where it stopped.

The order is that of Esser et al. 2021 (VQGAN): the tokenizer is trained before its tokens are modelled.
"""

from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from kiloword.data import dialogue
from kiloword.data.token_cache import TokenCache
from kiloword.model import ImageModel
from kiloword.parts import ImageModelConfig
from kiloword.recipes.context import Context
from kiloword.recipes.encoded import cached_hardness, cached_tokens
from kiloword.recipes.recipe import Recipe
from kiloword.recipes.training_set import Pictures
from kiloword.tokenizers.autoencoder import Autoencoder
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.judge import ContrastiveJudge, JudgeConfig
from kiloword.training.augmentation import shrink
from kiloword.training.loop import Run, TrainingConfig
from kiloword.training.tasks.contrastive_task import ContrastiveTask
from kiloword.training.tasks.image_model_task import Captions, ImageModelTask, ImageModelTaskConfig
from kiloword.training.tasks.tokenizer_task import TokenizerTask

# Axes: p grid positions of pictures, c channels.

LATENTS = 200_000  # that a quantizer is fitted to
BATCH = 256  # pictures that are encoded together


def train_tokenizer(model: ImageModel, recipe: Recipe, pictures: Pictures, context: Context) -> None:
    """Train the picture tokenizer of a model, or fit its quantizer where there is nothing to be trained."""
    autoencoder = picture_tokenizer(model)
    if autoencoder.quantizer.fits_at_once:
        autoencoder.quantizer.fit(latents(autoencoder, pictures, recipe.data.side))
        return
    training, config = recipe.tokenizer_training, replace(recipe.reconstruction, side=recipe.data.side)
    task = TokenizerTask(autoencoder, pictures.values, pictures.weights, pictures.held_out, config)
    finish(Run(task, training, context.folder / "tokenizer", context.fabric), "tokenizer", context)


@torch.no_grad()
def latents(tokenizer: Autoencoder, pictures: Pictures, side: int) -> Float[Tensor, "p c"]:
    """Latents at all grid positions of evenly spread training pictures."""
    chosen = pictures.weights.nonzero()[:, 0]
    layout = tokenizer.layout(side, side)
    chosen = chosen[:: max(1, len(chosen) * layout.count // LATENTS)]
    batches = (shrink(pictures.values[some], side) for some in chosen.split(BATCH))
    return torch.cat([tokenizer.encoder(pixels, layout).movedim(1, -1).flatten(0, 2) for pixels in batches])


def train_model(model: ImageModel, recipe: Recipe, pictures: Pictures, context: Context) -> TokenCache:
    """Train the model on the tokens of its tokenizer, which are returned."""
    task = image_model_task(model, recipe, pictures, context)
    tokens = cast(TokenCache, task.tokens)
    if recipe.task.hard:
        task.weights = task.weights * cached_hardness(task, tokens, context) ** recipe.task.hard
    learn(task, recipe.training, "model", context)
    return tokens


def image_model_task(model: ImageModel, recipe: Recipe, pictures: Pictures, context: Context) -> ImageModelTask:
    """The training task of a recipe; the context's folder keeps the tokens of its tokenizer."""
    return task_on_tokens(model, pictures, recipe.data.side, recipe.data.versions, recipe.task, context)


def task_on_tokens(
    model: ImageModel, pictures: Pictures, side: int, versions: int, config: ImageModelTaskConfig, context: Context
) -> ImageModelTask:
    """The task of a model on pictures, as tokens of its tokenizer."""
    tokenizer = model.picture.tokenizer
    tokens, shown = cached_tokens(tokenizer, pictures.values, side, versions, context)
    layout = tokenizer.layout(side, side)
    return ImageModelTask(
        model, layout, tokens, captions_of(pictures), pictures.weights, pictures.held_out, config, shown
    )  # fmt: skip


def learn(task: ImageModelTask, training: TrainingConfig, stage: str, context: Context) -> None:
    """Train a model to the end, with split weights if the context's strategy says so, and load the averaged weights."""
    finish(Run(task, training, context.folder / "model", context.large), stage, context)


def train_decoder(model: ImageModel, recipe: Recipe, pictures: Pictures, context: Context) -> None:
    """Go on with the decoder alone, whole pictures mostly: the encoder, and so every token, is frozen."""
    if recipe.decoder_training is None:
        return
    autoencoder = picture_tokenizer(model)
    autoencoder.requires_grad_(True)
    autoencoder.encoder.requires_grad_(False)
    config = replace(recipe.reconstruction, side=recipe.data.side, nested=0.1, masked=0.1)
    task = TokenizerTask(autoencoder, pictures.values, pictures.weights, pictures.held_out, config)
    finish(Run(task, recipe.decoder_training, context.folder / "decoder", context.fabric), "decoder", context)


def train_judge(
    judge: JudgeConfig, model: ImageModelConfig, recipe: Recipe, pictures: Pictures, tokens: TokenCache,
    context: Context,
) -> ContrastiveJudge:  # fmt: skip
    """A judge with the words of the model, trained to match tokens with texts."""
    words = getattr(model.prompt, "text", None)
    if not isinstance(words, BPEConfig):
        raise ValueError(f"a judge reads prompts with the text tokenizer of {recipe.name}, and it has none")
    torch.manual_seed(recipe.judge_training.seed)
    module = replace(judge, words=words).build()
    task = ContrastiveTask(module, tokens, captions_of(pictures), pictures.weights, pictures.held_out)
    finish(Run(task, recipe.judge_training, context.folder / "judge", context.fabric), "judge", context)
    return module.cpu()


def captions_of(pictures: Pictures) -> Captions:
    """Random prompts for each picture, and its one caption."""
    return Captions(
        prompt=lambda index, chance: dialogue.request(pictures.metadata[index], chance),
        caption=lambda index: dialogue.answer(pictures.metadata[index]),
    )


def picture_tokenizer(model: ImageModel) -> Autoencoder:
    """The autoencoder itself, out of the pyramid that wraps it."""
    return cast(Autoencoder, inner(model.picture.tokenizer))


def inner(tokenizer: Any) -> Any:
    """A tokenizer, or its settings, out of what wraps it."""
    return getattr(tokenizer, "tokenizer", tokenizer)


def finish(run: Run, stage: str, context: Context) -> None:
    """Train to the end and leave the averaged weights in the module."""
    run.train(lambda iteration, figures: context.report(stage, iteration, run.config.iterations, figures))
    run.finish()
