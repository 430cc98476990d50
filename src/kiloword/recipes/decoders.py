"""Recipes of diffusion decoders: a trained model learns to decode at a larger size.

Ramesh et al. 2022 (DALL-E 2) and OpenAI 2025 for a diffusion decoder behind a prior; compact transformers over patches
as in Peebles and Xie 2022 (DiT).
"""

from dataclasses import dataclass
from typing import Any

from kiloword.decoders.decoder import Effort
from kiloword.decoders.denoiser import DenoiserConfig
from kiloword.decoders.diffusion_decoder import DiffusionDecoderConfig
from kiloword.recipes.recipe import DataConfig
from kiloword.training.loop import TrainingConfig
from kiloword.training.optimiser import MuonConfig
from kiloword.training.tasks.denoising_task import DenoisingConfig
from kiloword.transformer import (
    AdaLNOutputConfig,
    AttentionConfig,
    RMSNormConfig,
    RotaryConfig,
    SharedAdaLNConfig,
    StackConfig,
    SwiGLUConfig,
)


@dataclass(frozen=True)
class DecoderRecipe:
    """A decoder for the tokens of a model: pictures `scale` times as large as encoded, in patches of `patch` pixels."""

    name: str
    about: str
    base: str  # the model whose tokens it decodes, unless another one is named
    guide: StackConfig
    stack: StackConfig
    training: TrainingConfig
    scale: int = 2
    patch: int = 8
    sketch: bool = True  # whether it starts from the tokenizer's reconstruction; not for tokenizers without a decoder
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
    """A stack over patches, each modulated by its noise level."""
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
