"""Vectors, positions and masks: no pixel and no token id comes in here (Vaswani et al. 2017)."""

from kiloword.transformer.attention import AttentionConfig
from kiloword.transformer.cache import Cache, KeyValueCache
from kiloword.transformer.feed_forward import GeGLUConfig, GELUConfig, SwiGLUConfig
from kiloword.transformer.modulation import AdaLNConfig, UnmodulatedConfig
from kiloword.transformer.norm import LayerNormConfig, RMSNormConfig
from kiloword.transformer.position import RotaryConfig
from kiloword.transformer.rows import Stream, Transformer, visible
from kiloword.transformer.stack import Stack, StackConfig

__all__ = [
    "AdaLNConfig", "AttentionConfig", "Cache", "GELUConfig", "GeGLUConfig", "KeyValueCache", "LayerNormConfig",
    "RMSNormConfig", "RotaryConfig", "Stack", "StackConfig", "Stream", "SwiGLUConfig", "Transformer",
    "UnmodulatedConfig", "visible",
]  # fmt: skip
