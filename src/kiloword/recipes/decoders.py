"""Recipes of diffusion decoders, and how they are carried out: a model that is there learns to paint at a larger size.

Ramesh et al. 2022 (DALL-E 2) and OpenAI 2025 for a diffusion decoder behind a prior; compact transformers over patches
as in Peebles and Xie 2022 (DiT).
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from kiloword import checkpoint, parts
from kiloword.decoders.decoder import Effort
from kiloword.decoders.denoiser import DenoiserConfig
from kiloword.decoders.diffusion_decoder import DiffusionDecoder, DiffusionDecoderConfig
from kiloword.decoders.patches import Patches
from kiloword.model import ImageModel
from kiloword.recipes.model_run import Pictures, Report, fabric, finish, load_pictures
from kiloword.recipes.recipe import DataConfig
from kiloword.training.loop import Run, TrainingConfig
from kiloword.training.optimiser import MuonConfig
from kiloword.training.tasks.denoising_task import DenoisingConfig, DenoisingTask, left_out
from kiloword.transformer import (
    AdaLNOutputConfig,
    AttentionConfig,
    RMSNormConfig,
    RotaryConfig,
    SharedAdaLNConfig,
    StackConfig,
    SwiGLUConfig,
)

MEASURED = 1024  # pictures that tell how wide the noise has to be


@dataclass(frozen=True)
class DecoderRecipe:
    """A decoder for the tokens of a model: at `scale` times what its tokenizer takes, in patches of `patch` pixels."""

    name: str
    about: str
    base: str  # the model that it paints for, unless another one is named
    guide: StackConfig
    stack: StackConfig
    training: TrainingConfig
    scale: int = 2
    patch: int = 8
    sketch: bool = True  # whether it works from the tokenizer's own picture; not for tokenizers that draw none
    effort: Effort = Effort(steps=2)
    # of a sketch
    task: DenoisingConfig = DenoisingConfig(centre=0.0, long=0.2, begin=0.75, preview=0.0, corrupt=0.05)
    data: DataConfig = DataConfig()


def decoder_128() -> DecoderRecipe:
    """5 M parameters: 256 patches of 128x128 pixels, under a guide of the shipped model's 20 tokens."""
    return DecoderRecipe(
        name="decoder-128",
        about="A diffusion decoder for emoji-64: the same tokens at 128x128 pixels.",
        base="emoji-64",
        guide=guide(192, 2),
        stack=patches(192, 6),
        training=TrainingConfig(
            iterations=2200, batch=32, optimiser=MuonConfig(8e-4, weight_decay=0.02), warmup=100, average=0.998,
            look_every=250,
        ),
    )  # fmt: skip


def guide(width: int, depth: int) -> StackConfig:
    """A stack over tokens, which sit in a grid of some scale."""
    position = RotaryConfig((0, 16, 24, 24))
    return StackConfig(width, depth, AttentionConfig(width // 64), SwiGLUConfig.beside(width), position=position)


def patches(width: int, depth: int) -> StackConfig:
    """A stack over patches, each modulated by its own level."""
    return StackConfig(
        width, depth, AttentionConfig(width // 64, query_norm=RMSNormConfig()), SwiGLUConfig.beside(width),
        position=RotaryConfig((0, 0, 32, 32)), modulation=SharedAdaLNConfig(), output_modulation=AdaLNOutputConfig(),
    )  # fmt: skip


def decoder_config(recipe: DecoderRecipe, tokenizer: Any, spread: tuple[float, ...] = ()) -> DiffusionDecoderConfig:
    """The recipe's decoder for the tokens of this tokenizer, with noise of this spread."""
    denoiser = DenoiserConfig(
        tokenizer.space, recipe.guide, recipe.stack, tokenizer.stride, recipe.scale, recipe.patch, tokenizer.channels,
        sketch=recipe.sketch, spread=spread,
    )  # fmt: skip
    return DiffusionDecoderConfig(denoiser, recipe.effort)


def spread_for(recipe: DecoderRecipe, tokenizer: Any, pictures: Pictures) -> tuple[float, ...]:
    """Noise as wide as what the sketches of some of the pictures leave out; () without a sketch."""
    if not recipe.sketch:
        return ()
    known = pictures.values[pictures.weights > 0]
    some = known[:: max(1, len(known) // MEASURED)][:MEASURED]
    spread = left_out(tokenizer.eval(), Patches(recipe.patch, tokenizer.channels), some, recipe.scale)
    return tuple(round(each, 4) for each in spread)


def train_decoder(recipe: DecoderRecipe, data: Path, out: Path, report: Report, start: str | None = None) -> Path:
    """From a model and pictures to the checkpoint of the model with this decoder, whose folder is returned.

    `start` names the model; if it has a decoder already, that one learns on.
    """
    source = checkpoint.find(start or recipe.base)
    config, card = checkpoint.read_config(source)
    model = parts.build(config)
    checkpoint.put_weights(model, source / checkpoint.WEIGHTS)
    tokenizer = model.picture.tokenizer
    before = model.pixel_decoder.scale
    torch.manual_seed(recipe.training.seed)
    scale = recipe.scale if config.decoder is None else before
    pictures = pictures_for(data, card.sizes[0][0] // before * scale, recipe.data)
    if config.decoder is None:
        config = replace(config, decoder=decoder_config(recipe, tokenizer, spread_for(recipe, tokenizer, pictures)))
        model = ImageModel(model.picture, model.prompt, model.transformer, model.text, parts.build(config.decoder))
    decoder = cast(DiffusionDecoder, model.decoder)
    out.mkdir(parents=True, exist_ok=True)
    settings = {**asdict(recipe), "model": parts.to_json(config)}
    (out / "recipe.json").write_text(json.dumps(settings, indent=1) + "\n")
    task = DenoisingTask(
        decoder, tokenizer, pictures.values, pictures.weights, pictures.held_out, recipe.task,
        recipe.training.iterations,
    )  # fmt: skip
    finish(Run(task, recipe.training, out / "decoder", fabric()), "diffusion decoder", report)
    sizes = tuple((h // before * decoder.scale, w // before * decoder.scale) for h, w in card.sizes)
    folder = out / "checkpoint"
    judge = checkpoint.load_judge(source)
    checkpoint.save(folder, model.cpu(), replace(card, sizes=sizes), config, judge=judge)
    return folder


def pictures_for(data: Path, side: int, config: DataConfig) -> Pictures:
    """Pictures of exactly this side, as bytes: these are what the decoder is to draw."""
    return load_pictures(data, side // 2, config.toned, config.leave_out, config.pictures)
