"""Autoencoder: encoder network, quantizer and decoder network as one tokenizer.

van den Oord et al. 2017 (VQ-VAE); nested groups of codes as in Rippel et al. 2014 (nested dropout).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kiloword.noise import Noise
from kiloword.tokenizers.network import NetworkConfig
from kiloword.tokenizers.quantizer import Multiscale, Quantized, QuantizerConfig, forget
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Layout

# Axes: b pictures, n tokens, k latent channels, H W pixels.


@dataclass(frozen=True)
class AutoencoderConfig:
    """Networks around a quantizer."""

    encoder: NetworkConfig
    decoder: NetworkConfig
    quantizer: QuantizerConfig

    def __post_init__(self):
        if self.encoder.stride != self.decoder.stride:
            raise ValueError(f"encoder and decoder strides differ: {self.encoder.stride}, {self.decoder.stride}")

    def build(self) -> "Autoencoder":
        return Autoencoder(self)


class Autoencoder(nn.Module, Tokenizer):
    """A tokenizer of one grid, or of the quantizer's several. Unknown tokens are zero latents to its decoder."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.quantizer = config.quantizer.build()
        self.encoder = config.encoder.build_encoder(self.quantizer.encoder_channels)
        self.decoder = config.decoder.build_decoder(self.quantizer.channels)

    @property
    def space(self):
        return self.quantizer.space

    @property
    def stride(self) -> int:
        """Pixels a side that one token covers."""
        return self.config.encoder.stride

    @property
    def channels(self) -> int:
        """Channels of its pictures: 4 (RGBA) or 3 (RGB)."""
        return self.config.encoder.channels

    def layout(self, height: int, width: int) -> Layout:
        if min(height, width) < self.stride or height % self.stride or width % self.stride:
            raise ValueError(
                f"this tokenizer needs pictures whose sides are multiples of {self.stride}, got {height}x{width}"
            )
        h, w = height // self.stride, width // self.stride
        scales = self.multiscale
        return Layout(scales.grids(h, w), scales.frame(h, w)) if scales else Layout(((h, w),))

    def encode(self, pixels: Float[Tensor, "b c H W"], layout: Layout, noise: Noise | None = None) -> Quantized:
        h, w = layout.sizes[-1]
        required = [self.config.encoder.channels, h * self.stride, w * self.stride]
        if list(pixels.shape[1:]) != required:
            raise ValueError(f"the layout requires pictures of {required}, got {list(pixels.shape)}")
        return self.quantizer.quantize(self.encoder(pixels, layout), layout, noise)

    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]:
        return self.decoder(self.quantizer.lookup(forget(tokens, known, self.space), layout), layout).float()

    def render(
        self, latent: Float[Tensor, "b k h w"], layout: Layout, known: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b c H W"]:
        """Pixels from latents of the finest grid, of which only the known ones are used."""
        return self.decoder(self.keep_known(latent, layout, known), layout).float()

    def keep_known(
        self, latent: Float[Tensor, "b k h w"], layout: Layout, known: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b k h w"]:
        """Latents of the finest grid, zero where they are not known."""
        return latent * rearrange(known[:, layout.part(-1)], "b (h w) -> b 1 h w", h=latent.shape[2])

    @property
    def groups(self) -> int:
        """Groups of codes a token, the most important first; 1 for quantizers without groups."""
        return self.quantizer.groups

    @property
    def flips(self) -> bool:
        return self.quantizer.flips

    @property
    def multiscale(self) -> Multiscale | None:
        return self.quantizer.multiscale

    def keep_groups(self, latent: Float[Tensor, "b k h w"], groups: Tensor) -> Float[Tensor, "b k h w"]:
        """Latents of which picture i keeps only its first `groups[i]` groups of codes."""
        each = latent.shape[1] // self.groups
        channel = torch.arange(latent.shape[1], device=latent.device)
        return latent * (channel[None] < groups[:, None] * each)[:, :, None, None]
