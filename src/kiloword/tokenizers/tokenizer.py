"""The law of tokenizers: pixels to tokens and back.

Tokens of a picture are those of all grids of a `Layout`, one grid after the other, each in raster order.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from kiloword.noise import Noise
from kiloword.tokenizers.quantizer import Multiscale, Quantized
from kiloword.tokens import Layout, TokenSpace

# Axes: b pictures, n tokens, c channels, H W pixels.


@runtime_checkable
class TokenizerConfig(Protocol):
    """The settings that a tokenizer is built from."""

    def build(self) -> "Tokenizer": ...


@runtime_checkable
class Tokenizer(Protocol):
    """Pixels are premultiplied RGBA (or RGB) in [-1, 1].

    Attributes with a default are optional abilities or limits: a tokenizer that has one overrides it.
    """

    space: TokenSpace
    stride: int  # pixels a side that a token of the finest grid covers
    channels: int  # of its pictures: 4 (RGBA) or 3 (RGB)
    groups: int = 1  # of codes a token, the most important first
    flips: bool = False  # with noise, `shown` has bits flipped against `target`
    drafts: bool = False  # a picture is decoded from the finest grid alone: the others are smaller pictures of it
    way_back: str = ""  # why tokens cannot be decoded without a diffusion decoder; empty where they can

    @property
    def multiscale(self) -> Multiscale | None:
        """The multi-scale quantizer; None for a single grid."""
        return None

    def layout(self, height: int, width: int) -> Layout: ...

    def encode(self, pixels: Float[Tensor, "b c H W"], layout: Layout, noise: Noise | None = None) -> Quantized: ...

    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]: ...
