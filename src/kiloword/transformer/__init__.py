"""Vectors, positions and masks: no pixel and no token id comes in here (Vaswani et al. 2017)."""

from kiloword.transformer.attention import AttentionConfig
from kiloword.transformer.cache import Cache, KeyValueCache
from kiloword.transformer.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from kiloword.transformer.feed_forward import GeGLUConfig, GELUConfig, SwiGLUConfig
from kiloword.transformer.modulation import AdaLNConfig, AdaLNExitConfig, SharedAdaLNConfig, UnmodulatedConfig
from kiloword.transformer.norm import LayerNormConfig, RMSNormConfig, UnitConfig
from kiloword.transformer.pattern import (
    ColumnPattern,
    ConvolutionPattern,
    FullPattern,
    PatternConfig,
    RowPattern,
    WrappedRowPattern,
)
from kiloword.transformer.position import MutedConfig, RotaryConfig
from kiloword.transformer.rows import Stream, Transformer, visible
from kiloword.transformer.stack import Stack, StackConfig

__all__ = [
    "AdaLNConfig", "AdaLNExitConfig", "AttentionConfig", "Cache", "ColumnPattern", "ConvolutionPattern",
    "EncoderDecoder", "EncoderDecoderConfig", "FullPattern", "GELUConfig", "GeGLUConfig", "KeyValueCache",
    "LayerNormConfig", "MutedConfig", "PatternConfig", "RMSNormConfig", "RotaryConfig", "RowPattern",
    "SharedAdaLNConfig", "Stack", "StackConfig", "Stream", "SwiGLUConfig", "Transformer", "UnitConfig",
    "UnmodulatedConfig", "WrappedRowPattern", "visible",
]  # fmt: skip
