"""Small recipes of the families of the field on the same icons: what differs is the tokenizer, the order and the head.

Image GPT (Chen et al. 2020), LlamaGen (Sun et al. 2024), VAR (Tian et al. 2024), MAR (Li et al. 2024) and GLM-Image
(Zhipu AI 2026), each with its own blocks; a text stands before the picture in all of them, as the icons are asked for
in words. GLM-Image's third part, a diffusion decoder, is taught after it: `kiloword train decoder-128 --from`.
"""

from dataclasses import replace

from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.diffusion import DiffusionConfig
from kiloword.heads.entrance import SeatedEntranceConfig
from kiloword.heads.flow import FlowConfig
from kiloword.orders.draft import DraftConfig
from kiloword.orders.masked import MaskedConfig
from kiloword.orders.next_scale import NextScaleConfig
from kiloword.orders.raster import RasterConfig
from kiloword.parts import ImageModelConfig, ModalityConfig
from kiloword.prompts.text_prefix import TextPrefixConfig
from kiloword.recipes.recipe import DataConfig, Recipe
from kiloword.recipes.tokenizers import SCALES, SPREAD, WHOLE, put_together, vit
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokens import Categorical, Vector
from kiloword.training.loop import TrainingConfig
from kiloword.training.optimiser import MuonConfig
from kiloword.training.tokenizer_lesson import LossWeights
from kiloword.transformer import (
    AttentionConfig,
    EncoderDecoderConfig,
    GELUConfig,
    LayerNormConfig,
    RMSNormConfig,
    RotaryConfig,
    StackConfig,
    SwiGLUConfig,
)

WIDTH, DEPTH, HEADS = 256, 6, 4
GRID = 8 * 8  # tokens of a picture of 64 pixels a side
OTHERS = ("3d", "gradient", "noto", "twemoji")
EASY = AttentionConfig(HEADS, query_norm=RMSNormConfig())


def llama() -> StackConfig:
    """Llama's blocks with places of time, scale, row and column."""
    position = RotaryConfig((24, 8, 16, 16))
    return StackConfig(WIDTH, DEPTH, EASY, SwiGLUConfig.beside(WIDTH), position=position, dropout=0.1)


def gpt() -> StackConfig:
    """GPT-2's blocks: layer norms and a plain network; the text's places are rotary, the picture's learned too."""
    return StackConfig(
        WIDTH, DEPTH, EASY, GELUConfig(4 * WIDTH), LayerNormConfig(), RotaryConfig((24, 8, 16, 16)), dropout=0.1
    )


def halves() -> EncoderDecoderConfig:
    """MAR's two stacks, half of the blocks each; the text is their buffer."""
    block = StackConfig(WIDTH, DEPTH // 2, AttentionConfig(HEADS, bias=True), GELUConfig(4 * WIDTH), LayerNormConfig())
    block = replace(block, dropout=0.1)
    return EncoderDecoderConfig(block, block, buffer=64, grid=(8, 8))


def quick() -> StackConfig:
    """Image GPT's blocks: RMS norms, quick GELU, no biases."""
    feed_forward = GELUConfig(4 * WIDTH, "quick", bias=False)
    return StackConfig(WIDTH, DEPTH, EASY, feed_forward, position=RotaryConfig((24, 8, 16, 16)), dropout=0.1)


def family(name: str) -> Recipe:
    """The recipe of that name in `FAMILIES`. Raises ValueError for other names."""
    if name not in FAMILIES:
        raise ValueError(f"there is no family {name!r}; there are: {', '.join(FAMILIES)}")
    sort, order, head, transformer, about = FAMILIES[name]
    optimiser = MuonConfig(2e-3, weight_decay=0.1)
    tokenizer, drafts = put_together(sort, vit()), isinstance(order, DraftConfig)
    return Recipe(
        name=name,
        about=f"64x64 icons in a flat style, drawn as {about} does, by a small model.",
        model=ImageModelConfig(
            ModalityConfig(PyramidConfig(tokenizer) if drafts else tokenizer, order, head),
            TextPrefixConfig(BPEConfig(), WIDTH, dropout=0.1),
            transformer(),
        ),
        data=DataConfig(versions=4, leave_out=OTHERS),
        tokenizer_training=TrainingConfig(2000, 32, MuonConfig(2.5e-3, weight_decay=0.02), warmup=50, average=0.998),
        training=TrainingConfig(1500, 48, optimiser, warmup=50, average=0.995, look_every=500),
        # the loss weighs so that a flow can start from continuous latents
        reconstruction=replace(WHOLE, draft=0.15 if drafts else 0.0, weights=LossWeights(kl_loss=1e-3)),
    )


def picked(size: int, **changes) -> CategoricalConfig:
    """A softmax over the ids of a codebook."""
    return CategoricalConfig(Categorical(size), WIDTH, **changes)


# name: quantizer of the tokenizer, order, head, blocks, whose way it is
FAMILIES = {
    "emoji-igpt": (
        "palette", RasterConfig(), picked(512, entrance=SeatedEntranceConfig(16 * 16)), quick, "Image GPT",
    ),
    "emoji-llamagen": (
        "vq", RasterConfig(), picked(1024, places=GRID), llama, "LlamaGen",
    ),
    "emoji-glm": (
        "vq", DraftConfig(), picked(1024, places=GRID + GRID // 4), llama, "GLM-Image",
    ),
    "emoji-var": (
        "residual", NextScaleConfig(),
        picked(
            1024, canvas=SPREAD.code_dim, bias=True,
            entrance=SeatedEntranceConfig(sum(side**2 for side in SCALES), len(SCALES)),
        ),
        gpt, "VAR",
    ),
    "emoji-mar": (
        "kl", MaskedConfig(16), DiffusionConfig(Vector(16), WIDTH, 3, WIDTH, FlowConfig(25), places=GRID), halves,
        "MAR",
    ),
}  # fmt: skip
