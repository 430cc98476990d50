"""The law of tokenizers: pixels to tokens and back.

Tokens of a picture are those of all grids of a `Layout`, one grid after the other, each in raster order.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from kiloword.noise import Noise
from kiloword.tokenizers.quantizer import Quantized
from kiloword.tokens import Layout, TokenSpace

# Axes: b pictures, n tokens, c channels, H W pixels.


@runtime_checkable
class TokenizerConfig(Protocol):
    """The settings that a tokenizer is built from."""

    def build(self) -> "Tokenizer": ...


@runtime_checkable
class Tokenizer(Protocol):
    """Pixels are premultiplied RGBA (or RGB) in [-1, 1]."""

    @property
    def space(self) -> TokenSpace: ...

    @property
    def stride(self) -> int:
        """Pixels a side that a token of the finest grid covers."""
        ...

    @property
    def channels(self) -> int:
        """Channels of its pictures: 4 (RGBA) or 3 (RGB)."""
        ...

    def layout(self, height: int, width: int) -> Layout: ...

    def encode(self, pixels: Float[Tensor, "b c H W"], layout: Layout, noise: Noise | None = None) -> Quantized: ...

    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]: ...


@runtime_checkable
class OneWay(Protocol):
    """The mark of tokenizers that only see: a decoder has to draw what their tokens mean. `way_back` says so."""

    @property
    def way_back(self) -> str: ...
