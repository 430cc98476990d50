"""Small recipes of the families of the field on the same icons: what differs is the tokenizer, the order and the head.

Image GPT (Chen et al. 2020), LlamaGen (Sun et al. 2024), RAR (Yu et al. 2024), VAR (Tian et al. 2024), Infinity (Han
et al. 2024), MAR (Li et al. 2024), GLM-Image (Zhipu AI 2026), UniTok's LlamaGen (Ma et al. 2025) and MetaMorph (Tong
et al. 2024, whose features are here those of a small encoder trained here), each with its blocks; a text stands
before the picture in all of them, as the icons are drawn from words. A diffusion decoder, GLM-Image's and MetaMorph's
last part, is trained after them: `kiloword train decoder-128 --from`.
"""

from dataclasses import replace

from kiloword.heads.bitwise import BitwiseConfig
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.diffusion_head import DiffusionConfig
from kiloword.heads.entrance import PositionEntranceConfig, ScaleEntranceConfig
from kiloword.heads.flow import FlowConfig
from kiloword.heads.multicode_head import MulticodeHeadConfig
from kiloword.heads.regression import RegressionConfig
from kiloword.orders.draft import DraftConfig
from kiloword.orders.masked import MaskedConfig
from kiloword.orders.next_scale import NextScaleConfig
from kiloword.orders.random import RandomConfig
from kiloword.orders.raster import RasterConfig
from kiloword.parts import ImageModelConfig, ModalityConfig
from kiloword.prompts.text_prefix import TextPrefixConfig
from kiloword.recipes.decoders import decoder_128, decoder_config
from kiloword.recipes.recipe import DataConfig, Recipe
from kiloword.recipes.tokenizers import SCALES, SPREAD, WHOLE, put_together, vit
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.bsq_scales import BSQScalesConfig
from kiloword.tokenizers.directions import DirectionsConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokens import Bits, Categorical, Codes, Vector
from kiloword.training.loop import TrainingConfig
from kiloword.training.optimiser import MuonConfig
from kiloword.training.tasks.image_model_task import ImageModelTaskConfig
from kiloword.training.tasks.tokenizer_task import LossWeights
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

WIDTH, DEPTH, HEADS = 192, 6, 3
FLIP = 0.3  # largest probability with which a shown bit flips in training, as in Infinity
GRID = 8 * 8  # tokens of a picture of 64 pixels a side
OTHERS = ("3d", "gradient", "noto", "twemoji")
EASY = AttentionConfig(HEADS, query_norm=RMSNormConfig())
HEAD_WIDTH = WIDTH // HEADS  # channels of a head


def llama(width: int = WIDTH, depth: int = DEPTH) -> StackConfig:
    """Llama's blocks with positions of time, scale, row and column."""
    attention, position = replace(EASY, heads=width // HEAD_WIDTH), RotaryConfig((24, 8, 16, 16))
    return StackConfig(width, depth, attention, SwiGLUConfig.beside(width), position=position, dropout=0.1)


def gpt() -> StackConfig:
    """GPT-2's blocks: layer norms and a plain network; the text's positions are rotary, the picture's learned too."""
    return StackConfig(
        WIDTH, DEPTH, EASY, GELUConfig(4 * WIDTH), LayerNormConfig(), RotaryConfig((24, 8, 16, 16)), dropout=0.1
    )


def halves(width: int = WIDTH, depth: int = DEPTH) -> EncoderDecoderConfig:
    """MAR's two stacks, half of the blocks each; the text is the encoder's buffer."""
    attention, feed_forward = AttentionConfig(width // HEAD_WIDTH, bias=True), GELUConfig(4 * width)
    block = StackConfig(width, depth // 2, attention, feed_forward, LayerNormConfig(), dropout=0.1)
    return EncoderDecoderConfig(block, block, buffer=64, grid=(8, 8))


def quick() -> StackConfig:
    """Image GPT's blocks: RMS norms, quick GELU, no biases."""
    feed_forward = GELUConfig(4 * WIDTH, "quick", bias=False)
    return StackConfig(WIDTH, DEPTH, EASY, feed_forward, position=RotaryConfig((24, 8, 16, 16)), dropout=0.1)


def small(width: int = WIDTH, depth: int = 2) -> StackConfig:
    """The transformer over the codes of a token; these have no positions, as each codebook has vectors of its own."""
    return replace(llama(width, depth), position=None)


def family(name: str) -> Recipe:
    """The recipe of that name in `FAMILIES`. Raises ValueError for other names."""
    if name not in FAMILIES:
        raise ValueError(f"there is no family {name!r}; there are: {', '.join(FAMILIES)}")
    sort, order, head, transformer, about = FAMILIES[name]
    optimiser = MuonConfig(2e-3, weight_decay=0.1)
    tokenizer, drafts = with_flips(put_together(sort, vit())), isinstance(order, DraftConfig)
    regresses = isinstance(head, RegressionConfig)  # features, for which a diffusion decoder is trained later
    decoder = replace(decoder_128(), scale=1, sketch=False)
    pictures = PyramidConfig(tokenizer) if drafts else DirectionsConfig(tokenizer) if regresses else tokenizer
    return Recipe(
        name=name,
        about=f"64x64 icons in a flat style, drawn as {about} does, by a small model.",
        model=ImageModelConfig(
            ModalityConfig(pictures, order, head),
            TextPrefixConfig(BPEConfig(), WIDTH, dropout=0.1),
            transformer(),
            decoder=decoder_config(decoder, pictures.build()) if regresses else None,
        ),
        data=DataConfig(versions=4, leave_out=OTHERS),
        tokenizer_training=TrainingConfig(2000, 32, MuonConfig(2.5e-3, weight_decay=0.02), warmup=50, average=0.998),
        training=TrainingConfig(1500, 48, optimiser, warmup=50, average=0.995, look_every=500),
        # the loss weighs so that a flow can start from continuous latents
        task=ImageModelTaskConfig(null=0.0 if regresses else 0.1),  # a regressed token cannot be guided
        reconstruction=replace(WHOLE, draft=0.15 if drafts else 0.0, weights=LossWeights(kl_loss=1e-3)),
    )


def categorical(size: int, width: int = WIDTH, **changes) -> CategoricalConfig:
    """A softmax over the ids of a codebook."""
    return CategoricalConfig(Categorical(size), width, **changes)


def on_canvas(width: int = WIDTH) -> CategoricalConfig:
    """A softmax over the ids of VAR's grids, fed the canvas of the coarser ones."""
    entrance = PositionEntranceConfig(sum(side**2 for side in SCALES), len(SCALES))
    return categorical(1024, width, canvas=SPREAD.code_dim, bias=True, entrance=entrance)


def bits(width: int = WIDTH) -> BitwiseConfig:
    """Ten bits of the tokens of several grids."""
    return BitwiseConfig(Bits(10), width, entrance=ScaleEntranceConfig(len(SCALES)), canvas=10)


def drawn_from_noise(width: int = WIDTH) -> DiffusionConfig:
    """Vectors, each drawn by the head's small denoising network."""
    return DiffusionConfig(Vector(16), width, 3, width, FlowConfig(25), positions=GRID)


def with_flips(tokenizer: AutoencoderConfig) -> AutoencoderConfig:
    """The tokenizer, whose bits flip now and then in what is shown if it has several grids of them."""
    if not isinstance(tokenizer.quantizer, BSQScalesConfig):
        return tokenizer
    return replace(tokenizer, quantizer=replace(tokenizer.quantizer, flip=FLIP))


# name: quantizer of the tokenizer, order, head, blocks, whose way it is
FAMILIES = {
    "emoji-igpt": (
        "palette", RasterConfig(), categorical(512, entrance=PositionEntranceConfig(16 * 16)), quick, "Image GPT",
    ),
    "emoji-llamagen": (
        "vq", RasterConfig(), categorical(1024, positions=GRID), llama, "LlamaGen",
    ),
    "emoji-rar": (
        "vq", RandomConfig(), categorical(1024, positions=GRID), llama, "RAR",
    ),
    "emoji-glm": (
        "vq", DraftConfig(), categorical(1024, positions=GRID + GRID // 4), llama, "GLM-Image",
    ),
    "emoji-var": (
        "residual", NextScaleConfig(), on_canvas(), gpt, "VAR",
    ),
    "emoji-infinity": (
        "bsq-scales", NextScaleConfig(), bits(), llama, "Infinity",
    ),
    "emoji-mar": (
        "kl", MaskedConfig(16), drawn_from_noise(), halves, "MAR",
    ),
    "emoji-metamorph": (
        "multicode", RasterConfig(), RegressionConfig(Vector(4 * 8), WIDTH, positions=GRID), llama, "MetaMorph",
    ),
    "emoji-unitok": (
        "multicode", RasterConfig(), MulticodeHeadConfig(Codes((1024,) * 4), WIDTH, small(), positions=GRID), llama,
        "UniTok's LlamaGen",
    ),
}  # fmt: skip
