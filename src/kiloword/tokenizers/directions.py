"""Directions: the latents of an autoencoder's encoder as tokens of length 1, without its decoder.

Tong et al. 2024 (MetaMorph, section 2) do so with the features of a SigLIP; here the encoder may be any small
autoencoder's.
"""

from dataclasses import dataclass
from typing import NoReturn

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from kiloword.noise import Noise
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.quantizer import Quantized
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Layout, Vector

# Axes: b pictures, n tokens, c channels of the pixels, H W pixels, w numbers of a token, h v grid of tokens.


@dataclass(frozen=True)
class DirectionsConfig:
    """The autoencoder whose encoder is used, of one grid. It is trained first, and frozen from then on."""

    tokenizer: AutoencoderConfig

    def build(self) -> "Directions":
        return Directions(self)


class Directions(nn.Module, Tokenizer):
    """A tokenizer that only encodes: latents before they are quantized."""

    way_back = "directions cannot be decoded to pixels without a diffusion decoder"

    def __init__(self, config: DirectionsConfig):
        super().__init__()
        self.tokenizer = config.tokenizer.build()
        if self.tokenizer.multiscale:
            raise ValueError("directions need an autoencoder of one grid, and this one has several")
        self.space = Vector(self.tokenizer.quantizer.encoder_channels)
        self.stride, self.channels, self.layout = self.tokenizer.stride, self.tokenizer.channels, self.tokenizer.layout

    def encode(self, pixels: Float[Tensor, "b c H W"], layout: Layout, noise: Noise | None = None) -> Quantized:
        latent = normalize(self.tokenizer.encoder(pixels, layout).float(), dim=1)
        tokens = rearrange(latent, "b w h v -> b (h v) w")
        return Quantized(target=tokens, shown=tokens, latent=latent)

    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> NoReturn:
        raise ValueError(self.way_back)
