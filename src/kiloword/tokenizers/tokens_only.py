"""Tokens without pictures: the space and the grids of a tokenizer that is missing.

For models that are published without their tokenizer (Chen et al. 2020; Sun et al. 2024).
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn

from kiloword.noise import Noise
from kiloword.tokenizers.quantizer import Quantized
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Layout, TokenSpace


@dataclass(frozen=True)
class TokensOnlyConfig:
    """A token covers `stride` pixels a side of pictures with so many channels."""

    space: TokenSpace
    stride: int = 1
    channels: int = 3

    def build(self) -> "TokensOnly":
        return TokensOnly(self)


class TokensOnly(nn.Module, Tokenizer):
    """The space and layout of tokens; `encode` and `decode` raise ValueError."""

    def __init__(self, config: TokensOnlyConfig):
        super().__init__()
        self.config, self.space = config, config.space
        self.stride, self.channels = config.stride, config.channels

    def layout(self, height: int, width: int) -> Layout:
        if min(height, width) < self.stride or height % self.stride or width % self.stride:
            raise ValueError(f"pictures have sides that are multiples of {self.stride}, got {height}x{width}")
        return Layout(((height // self.stride, width // self.stride),))

    def encode(self, pixels: Float[Tensor, "b c H W"], layout: Layout, noise: Noise | None = None) -> Quantized:
        raise ValueError("this model came without its tokenizer: pictures cannot become tokens")

    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]:
        raise ValueError("this model came without its tokenizer: tokens cannot become pictures")
