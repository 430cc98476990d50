"""Vectors, positions and masks: no pixel and no token id comes in here (Vaswani et al. 2017)."""

from kiloword.transformer.attention import AttentionConfig
from kiloword.transformer.blend import Blend, blend_at
from kiloword.transformer.cache import Cache, KeyValueCache
from kiloword.transformer.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from kiloword.transformer.feed_forward import GeGLUConfig, GELUConfig, GemmaGLUConfig, SwiGLUConfig
from kiloword.transformer.memory import CrossAttentionConfig, KeyValues, Listening, Memory, attend, stacked
from kiloword.transformer.modulation import (
    AdaLNConfig,
    AdaLNOutputConfig,
    Modulable,
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
from kiloword.transformer.rows import Stream, Transformer, visible
from kiloword.transformer.stack import Stack, StackConfig

__all__ = [
    "AdaLNConfig", "AdaLNOutputConfig", "AttentionConfig", "Blend", "Cache", "ColumnPattern", "ConvolutionPattern",
    "CrossAttentionConfig", "EncoderDecoder", "EncoderDecoderConfig", "FullPattern", "GELUConfig", "GeGLUConfig",
    "GemmaGLUConfig", "KeyValueCache", "KeyValues", "LayerNormConfig", "Listening", "Memory", "Modulable",
    "MutedConfig", "PatternConfig", "RMSNormConfig", "RotaryConfig", "RoundedConfig", "RowPattern",
    "SharedAdaLNConfig", "Stack", "StackConfig", "Stream", "StretchedConfig", "SwiGLUConfig", "Transformer",
    "UnitConfig", "UnmodulatedConfig", "WrappedRowPattern", "attend", "blend_at", "stacked", "visible",
]  # fmt: skip
