"""Vectors, positions and masks: a transformer without pixels and token ids (Vaswani et al. 2017)."""

from kiloword.transformer.attention import AttentionConfig
from kiloword.transformer.cache import Cache, KeyValueCache
from kiloword.transformer.cross_attention import (
    Context,
    CrossAttentionConfig,
    KeyValues,
    attend,
    stacked,
)
from kiloword.transformer.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from kiloword.transformer.feed_forward import GeGLUConfig, GELUConfig, GemmaGLUConfig, SwiGLUConfig
from kiloword.transformer.hidden_guidance import HiddenGuidance, hidden_guidance_at
from kiloword.transformer.modulation import (
    AdaLNConfig,
    AdaLNOutputConfig,
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
from kiloword.transformer.slots import Slots
from kiloword.transformer.stack import Stack, StackConfig
from kiloword.transformer.stream import Stream, Transformer, at, visible

__all__ = [
    "AdaLNConfig", "AdaLNOutputConfig", "AttentionConfig", "Cache", "ColumnPattern", "Context", "ConvolutionPattern",
    "CrossAttentionConfig", "EncoderDecoder", "EncoderDecoderConfig", "FullPattern", "GELUConfig",
    "GeGLUConfig", "GemmaGLUConfig", "HiddenGuidance", "KeyValueCache", "KeyValues", "LayerNormConfig", 
    "MutedConfig", "PatternConfig", "RMSNormConfig", "RotaryConfig", "RoundedConfig", "RowPattern", "SharedAdaLNConfig",
    "Slots", "Stack", "StackConfig", "Stream", "StretchedConfig", "SwiGLUConfig", "Transformer", "UnitConfig",
    "UnmodulatedConfig", "WrappedRowPattern", "at", "attend", "hidden_guidance_at", "stacked", "visible",
]  # fmt: skip
