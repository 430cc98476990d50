"""The networks of systems whose tokens are pixels: none, or the mean of small squares.

Chen et al. 2020 (Image GPT) shrink a picture and use its pixels unchanged.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from kiloword.tokenizers.network import Decoder, Encoder
from kiloword.tokens import Layout

# Axes: b pictures, c channels, H W pixels, h w grid.


@dataclass(frozen=True)
class PixelwiseConfig:
    """A token covers `stride` by `stride` pixels: encoded as their mean, decoded as a constant square."""

    stride: int = 1
    channels: int = 3

    def __post_init__(self):
        if min(self.stride, self.channels) < 1:
            raise ValueError(f"stride and channels start at 1, got {self.stride} and {self.channels}")

    def build_encoder(self, latent_channels: int) -> "Shrink":
        return Shrink(self._stride_of(latent_channels))

    def build_decoder(self, latent_channels: int) -> "Enlarge":
        return Enlarge(self._stride_of(latent_channels))

    def _stride_of(self, latent_channels: int) -> int:
        if latent_channels != self.channels:
            raise ValueError(f"pixels of {self.channels} channels cannot be latents of {latent_channels}")
        return self.stride


class Shrink(Encoder):
    """Pixels to their means."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, pixels: Float[Tensor, "b c H W"], layout: Layout) -> Float[Tensor, "b c h w"]:
        return avg_pool2d(pixels, self.stride) if self.stride > 1 else pixels


class Enlarge(Decoder):
    """Every value repeated over its square."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, latent: Float[Tensor, "b c h w"], layout: Layout) -> Float[Tensor, "b c H W"]:
        return interpolate(latent, scale_factor=self.stride, mode="nearest") if self.stride > 1 else latent
