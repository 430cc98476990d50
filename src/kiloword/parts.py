"""The one table: the tag of each part in a config.json, its config class, and how a model is built of parts.

A checkpoint names its parts by these tags, so a tag never changes its meaning; `FORMAT` counts changes of the fields.
"""

from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from kiloword import aliases
from kiloword.decoders.decoder import Effort
from kiloword.decoders.denoiser import DenoiserConfig
from kiloword.decoders.diffusion_decoder import DiffusionDecoderConfig
from kiloword.heads.bitwise import BitwiseConfig
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.code_entrance import ProjectedCodesConfig, SummedCodesConfig
from kiloword.heads.ddpm import DDPMConfig
from kiloword.heads.diffusion_head import DiffusionConfig
from kiloword.heads.entrance import AxialEntranceConfig, BareEntranceConfig, PositionEntranceConfig, ScaleEntranceConfig
from kiloword.heads.extended_vocab import ExtendedVocabConfig, ExtendedVocabHead
from kiloword.heads.factorised import FactorisedConfig
from kiloword.heads.flow import FlowConfig
from kiloword.heads.head import Head, HeadConfig
from kiloword.heads.level import AddedLevelConfig, ModulatingLevelConfig
from kiloword.heads.linear_patches import LinearPatchesConfig
from kiloword.heads.multicode_head import MulticodeHeadConfig
from kiloword.heads.regression import DirectionConfig, RegressionConfig, ValueConfig
from kiloword.heads.shared_vocab import SharedVocabConfig, SharedVocabHead
from kiloword.heads.unet_patches import UNetPatchesConfig
from kiloword.heads.velocity import VelocityConfig
from kiloword.modality import Modality, TextModality
from kiloword.model import ImageModel
from kiloword.orders.denoise import DenoiseConfig
from kiloword.orders.draft import DraftConfig
from kiloword.orders.masked import MaskedConfig
from kiloword.orders.next_scale import NextScaleConfig
from kiloword.orders.order import OrderConfig
from kiloword.orders.random import RandomConfig
from kiloword.orders.raster import RasterConfig
from kiloword.orders.raster_1d import Raster1DConfig
from kiloword.prompts.chat_template import ChatTemplateConfig
from kiloword.prompts.class_buffer import ClassBufferConfig
from kiloword.prompts.class_label import ClassLabelConfig
from kiloword.prompts.class_start import ClassStartConfig
from kiloword.prompts.features import FeaturesConfig
from kiloword.prompts.nothing import NothingConfig
from kiloword.prompts.prompt import Prompt
from kiloword.prompts.text_context import TextContextConfig
from kiloword.prompts.text_prefix import TextPrefixConfig
from kiloword.prompts.text_stream import TextStreamConfig
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.bsq import BSQConfig
from kiloword.tokenizers.bsq_scales import BSQScalesConfig
from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.contrastive import ContrastiveConfig, TextTowerConfig
from kiloword.tokenizers.directions import DirectionsConfig
from kiloword.tokenizers.dvae import DVAEConfig
from kiloword.tokenizers.factorisation import FactorisationConfig
from kiloword.tokenizers.fsq import FSQConfig
from kiloword.tokenizers.gumbel import GumbelConfig
from kiloword.tokenizers.judge import JudgeConfig
from kiloword.tokenizers.kl import KLConfig
from kiloword.tokenizers.multicode import MulticodeConfig
from kiloword.tokenizers.palette import PaletteConfig
from kiloword.tokenizers.patched import PatchedConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokenizers.residual import ResidualConfig
from kiloword.tokenizers.rq import RQConfig
from kiloword.tokenizers.siglip import SigLIPConfig
from kiloword.tokenizers.tokenizer import TokenizerConfig
from kiloword.tokenizers.tokens_only import TokensOnlyConfig
from kiloword.tokenizers.vit import ViTConfig
from kiloword.tokenizers.vitamin import ViTaminConfig
from kiloword.tokenizers.vq import VQConfig
from kiloword.tokenizers.wordbook import WordbookConfig
from kiloword.tokens import Bits, Categorical, Codes, Vector
from kiloword.transformer import (
    AdaLNConfig,
    AdaLNOutputConfig,
    AttentionConfig,
    ColumnPattern,
    ConvolutionPattern,
    CrossAttentionConfig,
    EncoderDecoderConfig,
    FullPattern,
    GeGLUConfig,
    GELUConfig,
    GemmaGLUConfig,
    LayerNormConfig,
    MutedConfig,
    RMSNormConfig,
    RotaryConfig,
    RoundedConfig,
    RowPattern,
    SharedAdaLNConfig,
    StackConfig,
    StretchedConfig,
    SwiGLUConfig,
    UnitConfig,
    UnmodulatedConfig,
    WrappedRowPattern,
)

FORMAT = 1


@dataclass(frozen=True)
class ModalityConfig:
    """How pictures become tokens, in which order and through which head."""

    tokenizer: TokenizerConfig
    order: OrderConfig
    head: HeadConfig

    def build(self) -> Modality:
        return Modality(self.tokenizer.build(), self.order.build(), self.head.build())


@dataclass(frozen=True)
class TextConfig:
    """Text that the model writes: at most `limit` tokens. A shared or an extended vocabulary is that of the
    pictures, named once more."""

    tokenizer: BPEConfig | WordbookConfig
    head: CategoricalConfig | SharedVocabConfig | ExtendedVocabConfig
    order: RasterConfig = RasterConfig()
    limit: int = 64

    def __post_init__(self):
        if isinstance(self.head, SharedVocabConfig) and self.limit >= self.head.limit:
            raise ValueError(f"texts of {self.limit} tokens and their end do not fit into {self.head.limit} positions")

    def build(self, picture: Head | None = None) -> TextModality:
        """`picture` is the head of the model's pictures. Raises ValueError if one vocabulary differs from it."""
        return TextModality(self.tokenizer.build(), self.order.build(), self._head(picture), self.limit)

    def _head(self, picture: Head | None) -> Head:
        if isinstance(self.head, CategoricalConfig):
            return self.head.build()
        if not isinstance(picture, SharedVocabHead | ExtendedVocabHead) or picture.config != self.head:
            raise ValueError("a head of one vocabulary must be the same for text and pictures, here they differ")
        return picture.text


PromptConfig = (
    TextPrefixConfig | ClassLabelConfig | ClassStartConfig | ClassBufferConfig | FeaturesConfig | NothingConfig
    | TextStreamConfig | ChatTemplateConfig | TextContextConfig
)  # fmt: skip


@dataclass(frozen=True)
class ImageModelConfig:
    """A whole model."""

    picture: ModalityConfig
    prompt: PromptConfig
    transformer: StackConfig | EncoderDecoderConfig
    text: TextConfig | None = None
    decoder: DiffusionDecoderConfig | None = None  # None: the tokenizer's own

    def build(self) -> ImageModel:
        picture = self.picture.build()
        text = self.text.build(picture.head) if self.text else None
        decoder = self.decoder.build() if self.decoder else None
        return ImageModel(picture, self._prompt(text), self.transformer.build(), text, decoder)

    def _prompt(self, text: TextModality | None) -> Prompt:
        if not isinstance(self.prompt, TextStreamConfig | ChatTemplateConfig):
            return self.prompt.build()
        if text is None:
            raise ValueError("a prompt in the stream goes through the model's text, and this model has none")
        if isinstance(self.prompt, ChatTemplateConfig):
            return self.prompt.build(text.head, text.tokenizer)
        return self.prompt.build(text.head)


PARTS: dict[str, type] = {
    "adaln": AdaLNConfig,
    "adaln-output": AdaLNOutputConfig,
    "added-level": AddedLevelConfig,
    "attention": AttentionConfig,
    "autoencoder": AutoencoderConfig,
    "axial-entrance": AxialEntranceConfig,
    "bare-entrance": BareEntranceConfig,
    "bits": Bits,
    "bitwise": BitwiseConfig,
    "bpe": BPEConfig,
    "bsq": BSQConfig,
    "bsq-scales": BSQScalesConfig,
    "categorical": CategoricalConfig,
    "categorical-space": Categorical,
    "chat-template": ChatTemplateConfig,
    "class-buffer": ClassBufferConfig,
    "class-label": ClassLabelConfig,
    "class-start": ClassStartConfig,
    "cnn": CNNConfig,
    "codes": Codes,
    "column-pattern": ColumnPattern,
    "contrastive": ContrastiveConfig,
    "convolution-pattern": ConvolutionPattern,
    "cross-attention": CrossAttentionConfig,
    "ddpm": DDPMConfig,
    "denoise": DenoiseConfig,
    "denoiser": DenoiserConfig,
    "diffusion": DiffusionConfig,
    "diffusion-decoder": DiffusionDecoderConfig,
    "direction-aim": DirectionConfig,
    "directions": DirectionsConfig,
    "draft": DraftConfig,
    "dvae": DVAEConfig,
    "effort": Effort,
    "encoder-decoder": EncoderDecoderConfig,
    "extended-vocab": ExtendedVocabConfig,
    "factorisation": FactorisationConfig,
    "factorised": FactorisedConfig,
    "features": FeaturesConfig,
    "flow": FlowConfig,
    "fsq": FSQConfig,
    "full-pattern": FullPattern,
    "geglu": GeGLUConfig,
    "gelu": GELUConfig,
    "gemma-glu": GemmaGLUConfig,
    "gumbel": GumbelConfig,
    "image-model": ImageModelConfig,
    "judge": JudgeConfig,
    "kl": KLConfig,
    "layer-norm": LayerNormConfig,
    "linear-patches": LinearPatchesConfig,
    "masked": MaskedConfig,
    "modality": ModalityConfig,
    "modulating-level": ModulatingLevelConfig,
    "multicode": MulticodeConfig,
    "multicode-head": MulticodeHeadConfig,
    "muted": MutedConfig,
    "next-scale": NextScaleConfig,
    "nothing": NothingConfig,
    "palette": PaletteConfig,
    "patched": PatchedConfig,
    "pixelwise": PixelwiseConfig,
    "projected-codes": ProjectedCodesConfig,
    "pyramid": PyramidConfig,
    "random": RandomConfig,
    "raster": RasterConfig,
    "raster-1d": Raster1DConfig,
    "regression": RegressionConfig,
    "residual": ResidualConfig,
    "rms-norm": RMSNormConfig,
    "rotary": RotaryConfig,
    "rounded": RoundedConfig,
    "row-pattern": RowPattern,
    "rq": RQConfig,
    "scale-entrance": ScaleEntranceConfig,
    "position-entrance": PositionEntranceConfig,
    "shared-adaln": SharedAdaLNConfig,
    "shared-vocab": SharedVocabConfig,
    "siglip": SigLIPConfig,
    "stack": StackConfig,
    "stretched": StretchedConfig,
    "summed-codes": SummedCodesConfig,
    "swiglu": SwiGLUConfig,
    "text": TextConfig,
    "text-context": TextContextConfig,
    "text-prefix": TextPrefixConfig,
    "text-stream": TextStreamConfig,
    "text-tower": TextTowerConfig,
    "tokens-only": TokensOnlyConfig,
    "unet-patches": UNetPatchesConfig,
    "unit": UnitConfig,
    "unmodulated": UnmodulatedConfig,
    "value-aim": ValueConfig,
    "vector": Vector,
    "velocity": VelocityConfig,
    "vit": ViTConfig,
    "vitamin": ViTaminConfig,
    "vq": VQConfig,
    "wordbook": WordbookConfig,
    "wrapped-row-pattern": WrappedRowPattern,
}
TAGS = {part: tag for tag, part in PARTS.items()}


def build(config: Any) -> Any:
    """The part that a config describes."""
    return config.build()


def to_json(config: Any) -> Any:
    """A config as plain JSON values, every part with its tag."""
    if is_dataclass(config) and not isinstance(config, type):
        if type(config) not in TAGS:
            raise ValueError(f"{type(config).__name__} is not in the table of parts, so it cannot be written down")
        values = {field.name: to_json(getattr(config, field.name)) for field in fields(config) if field.init}
        return {"part": TAGS[type(config)], **values}
    if isinstance(config, tuple | list):
        return [to_json(value) for value in config]
    return config


def from_json(values: Any) -> Any:
    """The config that `to_json` wrote down. Raises ValueError for unknown parts, and unknown or missing fields."""
    if isinstance(values, list):
        return tuple(from_json(value) for value in values)
    if not isinstance(values, dict):
        return values
    tag = values.get("part")
    tag = aliases.TAGS.get(str(tag), tag)
    if tag not in PARTS:
        raise ValueError(f"unknown part {tag!r}: this kiloword knows {', '.join(PARTS)}")
    known = [field for field in fields(PARTS[tag]) if field.init]
    names = [field.name for field in known]
    given = {aliases.field_of(name, names): from_json(value) for name, value in values.items() if name != "part"}
    given = {name: aliases.value_of(name, value) for name, value in given.items()}
    unknown = given.keys() - set(names)
    if unknown:
        raise ValueError(f"part {tag!r} has no field {', '.join(sorted(unknown))}")
    needed = [field.name for field in known if field.default is MISSING and field.default_factory is MISSING]
    missing = [name for name in needed if name not in given]
    if missing:
        raise ValueError(f"part {tag!r} needs its field {', '.join(missing)}")
    return PARTS[tag](**given)
