"""Tiny models in the shape of DALL-E: text and picture tokens of one vocabulary in one stream, a pattern a layer."""

import torch

import tiny
from kiloword.heads.entrance import AxialEntranceConfig
from kiloword.heads.shared_vocab import SharedVocabConfig
from kiloword.model import ImageModel
from kiloword.orders.raster import RasterConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.prompts.text_stream import TextStreamConfig
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.gumbel import GumbelConfig
from kiloword.tokens import Categorical
from kiloword.transformer import ColumnPattern, ConvolutionPattern, FullPattern, RowPattern, WrappedRowPattern

LIMIT = 9
PATTERNS = {
    "full": (),
    "row": (RowPattern(),),
    "wrapped row": (WrappedRowPattern(),),
    "column": (ColumnPattern(),),
    "convolution": (ConvolutionPattern(1),),
    "mixed": (WrappedRowPattern(), ColumnPattern(), FullPattern(), ConvolutionPattern(2)),
}


def config(patterns: str = "mixed", position_of: str = "fed", path: str = "rows", depth: int = 2) -> ImageModelConfig:
    """A picture of 4 rows and 2 columns of tokens after 9 words; without rotary positions if `position_of` is "fed"."""
    words = Categorical(tiny.words().build().space.size)
    head = SharedVocabConfig(words, Categorical(7), tiny.WIDTH, LIMIT, AxialEntranceConfig(4, 4))
    tokenizer = AutoencoderConfig(tiny.vit(), tiny.vit(), GumbelConfig(7, 3))
    changes = {"position": None} if position_of == "fed" else {}
    return ImageModelConfig(
        ModalityConfig(tokenizer, RasterConfig(path, position_of), head),
        TextStreamConfig(tiny.words(), LIMIT),
        tiny.stack(depth=depth, patterns=PATTERNS[patterns], **changes),
        TextConfig(tiny.words(), head, limit=LIMIT - 1),
    )


def model(seed: int = 0, **changes) -> ImageModel:
    """A model of that shape whose every parameter does something."""
    torch.manual_seed(seed)
    return tiny.awake(config(**changes).build()).eval()
