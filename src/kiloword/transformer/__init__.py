"""Vectors, positions and masks: no pixel and no token id comes in here (Vaswani et al. 2017)."""

from kiloword.transformer.attention import AttentionConfig
from kiloword.transformer.blend import Blend, blend_at
from kiloword.transformer.cache import Cache, KeyValueCache
from kiloword.transformer.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from kiloword.transformer.feed_forward import GeGLUConfig, GELUConfig, GemmaGLUConfig, SwiGLUConfig
from kiloword.transformer.memory import CrossAttentionConfig, KeyValues, Memory, attend, stacked
from kiloword.transformer.modulation import (
    AdaLNConfig,
    AdaLNExitConfig,
    SharedAdaLNConfig,
    UnmodulatedConfig,
)
from kiloword.transformer.norm import LayerNormConfig, RMSNormConfig, UnitConfig
from kiloword.transformer.pattern import (
    ColumnPattern,
    ConvolutionPattern,
    FullPattern,
    PatternConfig,
    RowPattern,
    WrappedRowPattern,
)
from kiloword.transformer.position import MutedConfig, RotaryConfig, RoundedConfig, StretchedConfig
from kiloword.transformer.rows import Stream, Transformer, at, visible
from kiloword.transformer.slots import Slots
from kiloword.transformer.stack import Stack, StackConfig

__all__ = [
    "AdaLNConfig", "AdaLNExitConfig", "AttentionConfig", "Blend", "Cache", "ColumnPattern", "ConvolutionPattern",
    "CrossAttentionConfig", "EncoderDecoder", "EncoderDecoderConfig", "FullPattern", "GELUConfig", "GeGLUConfig",
    "GemmaGLUConfig", "KeyValueCache", "KeyValues", "LayerNormConfig", "Memory",
    "MutedConfig", "PatternConfig", "RMSNormConfig", "RotaryConfig", "RoundedConfig", "RowPattern",
    "SharedAdaLNConfig", "Slots", "Stack", "StackConfig", "Stream", "StretchedConfig", "SwiGLUConfig", "Transformer",
    "UnitConfig", "UnmodulatedConfig", "WrappedRowPattern", "at", "attend", "blend_at", "stacked", "visible",
]  # fmt: skip
