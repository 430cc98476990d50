"""The recipe of the shipped model: 64x64 RGBA icons in five styles, drawn from 4 draft tokens and 16 full ones.

Few, rich tokens: a token is 8 groups of the 8-8-8-5-5 codes of Mentzer et al. 2023, 109 bits.
"""

from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.factorised import FactorisedConfig
from kiloword.orders.draft import DraftConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.prompts.text_prefix import TextPrefixConfig
from kiloword.recipes.recipe import DataConfig, Recipe
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.fsq import FSQConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokenizers.vit import ViTConfig
from kiloword.tokens import Categorical, Codes
from kiloword.training.loop import TrainingConfig
from kiloword.training.optimiser import MuonConfig
from kiloword.transformer import AttentionConfig, RMSNormConfig, RotaryConfig, StackConfig, SwiGLUConfig


def emoji_64() -> Recipe:
    """About 10 M parameters of tokenizer and 14 M of model; two hours on two cores."""
    levels, groups = (8, 8, 8, 5, 5), 8
    return Recipe(
        name="emoji-64",
        about="Icons of 64x64 pixels with transparency, in five styles, from words in many languages.",
        model=image_model(tokenizer(levels, groups), Codes(levels * groups), width=320, depth=8),
        data=DataConfig(),
        tokenizer_training=TrainingConfig(
            iterations=1500, batch=64, optimiser=MuonConfig(2.5e-3, weight_decay=0.02), warmup=50, average=0.998
        ),
        training=TrainingConfig(
            iterations=2800, batch=128, optimiser=MuonConfig(2e-3, weight_decay=0.1), warmup=100, average=0.998
        ),
        decoder_training=TrainingConfig(
            iterations=800, batch=64, optimiser=MuonConfig(1.5e-3, weight_decay=0.02), warmup=30, average=0.996
        ),
    )


def tokenizer(levels: tuple[int, ...], groups: int) -> AutoencoderConfig:
    """Patches of 8 pixels in narrow fine stacks, 2x2 of them in wide coarse ones: a token covers 16x16 pixels."""
    return AutoencoderConfig(
        encoder=ViTConfig(fine=patches(192, 2), coarse=patches(320, 3)),
        decoder=ViTConfig(fine=patches(192, 4), coarse=patches(320, 3)),
        quantizer=FSQConfig(levels, groups),
    )


def patches(width: int, depth: int) -> StackConfig:
    """A stack for patches, whose positions are part of their vectors."""
    return StackConfig(width, depth, AttentionConfig(width // 64), SwiGLUConfig.beside(width))


def image_model(autoencoder: AutoencoderConfig, codes: Codes, width: int, depth: int) -> ImageModelConfig:
    """Draft x factorised for pictures, raster x categorical for text, around one transformer; no merges yet."""
    merges = BPEConfig()
    return ImageModelConfig(
        picture=ModalityConfig(
            PyramidConfig(autoencoder), DraftConfig(), FactorisedConfig(codes, width, units=48, positions=20)
        ),
        prompt=TextPrefixConfig(merges, width, dropout=0.1),
        transformer=StackConfig(
            width,
            depth,
            AttentionConfig(width // 64, query_norm=RMSNormConfig()),
            SwiGLUConfig.beside(width),
            position=RotaryConfig((24, 8, 16, 16)),
            dropout=0.1,
        ),
        text=TextConfig(merges, CategoricalConfig(Categorical(257), width)),
    )
