"""A small Transfusion: words one after the other, pictures denoised, in one stream and by one transformer.

Zhou et al. 2024 (Transfusion: Predict the Next Token and Diffuse Images with One Multi-Modal Model). Published with
0.16 to 7 billion parameters and 256 tokens of 2x2 latents; a text's loss counts a fifth of a picture's, and 80 % of the
pictures stand behind their caption. Here pictures that stand before it are clean, not up to half noise as in the paper,
and the flow is straight, where the paper's schedule is a cosine.
"""

from dataclasses import replace

from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.level import ModulatingLevelConfig
from kiloword.heads.linear_patches import LinearPatchesConfig
from kiloword.heads.unet_patches import UNetPatchesConfig
from kiloword.heads.velocity import VelocityConfig
from kiloword.orders.denoise import DenoiseConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.prompts.text_stream import TextStreamConfig
from kiloword.recipes.recipe import DataConfig, Recipe
from kiloword.recipes.tokenizers import WHOLE, put_together, vit
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.tokenizer import TokenizerConfig
from kiloword.tokens import Categorical, Vector
from kiloword.training.loop import TrainingConfig
from kiloword.training.optimiser import MuonConfig
from kiloword.training.tasks.image_model_task import ImageModelTaskConfig
from kiloword.training.tasks.tokenizer_task import LossWeights
from kiloword.transformer import AdaLNConfig, AttentionConfig, RMSNormConfig, RotaryConfig, StackConfig, SwiGLUConfig

WORDS, LIMIT, LATENT = 2048, 32, 16  # text pieces, text tokens, numbers of a latent


def transfusion_64() -> Recipe:
    """About 2.4 M parameters of tokenizer and 9 M of transformer: words to icons of 64x64 pixels, and back."""
    return Recipe(
        name="transfusion-64",
        about="Icons of 64x64 pixels in a flat style, denoised by the transformer that reads and writes their words.",
        model=image_model(
            put_together("kl", vit()), VelocityConfig(Vector(LATENT), 256, level=ModulatingLevelConfig()),
            stack(256, 6, dropout=0.1),
        ),
        data=DataConfig(versions=4, vocabulary=WORDS, leave_out=("3d", "gradient", "noto", "twemoji")),
        tokenizer_training=TrainingConfig(2000, 32, MuonConfig(2.5e-3, weight_decay=0.02), warmup=50, average=0.998),
        training=TrainingConfig(
            1500, 48, MuonConfig(2e-3, weight_decay=0.1), warmup=50, average=0.995, look_every=500
        ),
        reconstruction=replace(WHOLE, weights=LossWeights(kl_loss=1e-3)),
        task=ImageModelTaskConfig(describe=0.2, corrupt=0.0, text_weight=0.2),
    )  # fmt: skip


def stack(width: int, depth: int, dropout: float = 0.0) -> StackConfig:
    """Llama's blocks; a token's level modulates its position, and words are not modulated."""
    attention, position = AttentionConfig(width // 64, query_norm=RMSNormConfig()), RotaryConfig((24, 8, 16, 16))
    return StackConfig(
        width, depth, attention, SwiGLUConfig.beside(width), position=position, modulation=AdaLNConfig(),
        dropout=dropout,
    )  # fmt: skip


def image_model(
    tokenizer: TokenizerConfig, head: VelocityConfig, transformer: StackConfig, text: BPEConfig = BPEConfig(),
    limit: int = LIMIT,
) -> ImageModelConfig:  # fmt: skip
    """kl x denoise x velocity, and words on both sides of a picture. A U-Net's pictures are all at once."""
    words = CategoricalConfig(Categorical(text.build().space.size), head.width, tied=True)
    order = DenoiseConfig(grouped=0.0 if isinstance(head.patches, UNetPatchesConfig) else 0.35)
    return ImageModelConfig(
        picture=ModalityConfig(tokenizer, order, head),
        prompt=TextStreamConfig(text, limit),
        transformer=transformer,
        text=TextConfig(text, words, limit=limit),
    )


PATCHES = {"linear": LinearPatchesConfig(), "unet": UNetPatchesConfig(2, 32)}
