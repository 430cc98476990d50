"""A small DALL-E: 80 text tokens and 8x8 picture tokens of a dVAE, one stream, one vocabulary, sparse attention.

Ramesh et al. 2021 (Zero-Shot Text-to-Image Generation). The original was never released: 12 billion parameters in 64
layers with 62 heads of 64 channels; 256 text tokens out of 16,384 words and a padding for each position, 32x32 picture
tokens out of 8,192 codes. Its BPE dropout (10 %) is not done here.
"""

from dataclasses import replace

from kiloword.heads.entrance import AxialEntranceConfig
from kiloword.heads.shared_vocab import SharedVocabConfig
from kiloword.orders.raster import RasterConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.prompts.text_stream import TextStreamConfig
from kiloword.recipes.recipe import DataConfig, Recipe
from kiloword.recipes.tokenizers import DVAE
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.dvae import DVAEConfig
from kiloword.tokenizers.gumbel import GumbelConfig
from kiloword.tokenizers.judge import JudgeConfig
from kiloword.tokens import Categorical
from kiloword.training.loop import TrainingConfig
from kiloword.training.optimiser import AdamWConfig, MuonConfig
from kiloword.training.tasks.image_model_task import ImageModelTaskConfig
from kiloword.training.tasks.tokenizer_task import LossWeights
from kiloword.transformer import AttentionConfig, GELUConfig, LayerNormConfig, StackConfig
from kiloword.transformer.pattern import dalle as layers

CODES, WORDS, LIMIT, SIDE = 256, 2048, 80, 8  # picture codes, text pieces, text tokens, tokens a side


def dalle_64() -> Recipe:
    """About 0.4 M parameters of dVAE and 2.2 M of transformer: words to icons of 64x64 pixels, without guidance."""
    return Recipe(
        name="dalle-64",
        about="Icons of 64x64 pixels with transparency, from words, as DALL-E drew: text and picture in one stream.",
        model=image_model(dvae(), shared_vocab_head(257, LIMIT, CODES, 128, SIDE), stack(2, 8, radius=2)),
        data=DataConfig(vocabulary=WORDS),
        tokenizer_training=TrainingConfig(
            iterations=3000, batch=32, optimiser=AdamWConfig(1e-3, weight_decay=0.0), warmup=50, average=0.998
        ),
        training=TrainingConfig(
            iterations=2800, batch=64, optimiser=MuonConfig(2e-3, weight_decay=0.1), warmup=100, average=0.998
        ),
        reconstruction=replace(
            DVAE, weights=LossWeights(kl_loss=0.2)
        ),  # at the paper's 0.026 most codes are soon unused
        task=ImageModelTaskConfig(describe=0.0, null=0.0, corrupt=0.0, text_weight=1 / 7, capacity=LIMIT + SIDE**2),
        judge=judge(2, 4),
        judge_training=TrainingConfig(
            iterations=800, batch=128, optimiser=MuonConfig(2e-3, weight_decay=0.1), warmup=50, average=0.99
        ),
    )


def dvae(width: int = 24) -> AutoencoderConfig:
    """The dVAE's networks at a tenth of their width, one block a group: a token covers 8x8 pixels."""
    network = DVAEConfig(width, blocks=1, channels=4)
    return AutoencoderConfig(network, network, GumbelConfig(CODES, 64))


def shared_vocab_head(words: int, limit: int, codes: int, width: int, side: int) -> SharedVocabConfig:
    """Text, its paddings and codes in one; `side` learned rows and columns for pictures."""
    return SharedVocabConfig(Categorical(words), Categorical(codes), width, limit, AxialEntranceConfig(side, side))


def stack(heads: int, depth: int, radius: int, dropout: float = 0.1) -> StackConfig:
    """Heads of 64 channels; rows, columns and at last a convolution that reaches `radius` tokens far."""
    width = 64 * heads
    return StackConfig(
        width, depth, AttentionConfig(heads, bias=True), GELUConfig(4 * width), LayerNormConfig(), dropout=dropout,
        patterns=layers(depth, radius),
    )  # fmt: skip


def judge(heads: int, depth: int) -> JudgeConfig:
    """The paper's CLIP: it chooses among what has been drawn, but reads tokens, not pixels."""
    tower = replace(stack(heads, depth, radius=2), patterns=())
    return JudgeConfig(BPEConfig(), tower, Categorical(CODES), tower, positions=SIDE**2, limit=LIMIT, dim=128)


def image_model(tokenizer: AutoencoderConfig, head: SharedVocabConfig, transformer: StackConfig) -> ImageModelConfig:
    """dVAE x raster x shared vocabulary, no merges yet. A picture token has the position of its fed token."""
    merges = BPEConfig()
    return ImageModelConfig(
        picture=ModalityConfig(tokenizer, RasterConfig(position_of="fed"), head),
        prompt=TextStreamConfig(merges, head.limit),
        transformer=transformer,
        text=TextConfig(merges, head, limit=min(64, head.limit - 1)),
    )
