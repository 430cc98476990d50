"""The law of the networks of an autoencoder: pixels to latents and back.

Rumelhart et al. 1986 for autoencoders; the channels of the latent are the quantizer's.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from kiloword.tokens import Layout

# Axes: b pictures, c channels, H W pixels, k latent channels, i channels of features, h w grid.


@runtime_checkable
class NetworkConfig(Protocol):
    """Settings from which an encoder or its mirror image, a decoder, is built."""

    @property
    def channels(self) -> int: ...

    @property
    def stride(self) -> int: ...

    def build_encoder(self, latent_channels: int) -> "Encoder": ...

    def build_decoder(self, latent_channels: int) -> "Decoder": ...


class Network(nn.Module):
    """What encoders and decoders have in common: how a large picture can be processed in tiles.

    `steps` in sequence are the network, if it has any. `wide` of them, the encoder's last and the decoder's first, need
    the whole picture; the others are local (bounded receptive field), except for group norms.
    """

    @property
    def steps(self) -> Sequence[Callable[[Tensor], Tensor]]:
        return ()

    @property
    def wide(self) -> int:
        return 0


class Encoder(Network):
    """Pixels to latents."""

    def forward(self, pixels: Float[Tensor, "b c H W"], layout: Layout) -> Float[Tensor, "b k h w"]:
        raise NotImplementedError


class Decoder(Network):
    """Latents to pixels. What has a default here is optional."""

    feature_width: int = 0  # channels of its `features`; 0: it has none

    def forward(self, latent: Float[Tensor, "b k h w"], layout: Layout) -> Float[Tensor, "b c H W"]:
        raise NotImplementedError

    def features(self, latent: Float[Tensor, "b k h w"], layout: Layout) -> Float[Tensor, "b i h w"]:
        """Latents projected to wider, semantic feature vectors."""
        raise AssertionError(f"a {type(self).__name__} has no features")

    def distribution(
        self, latent: Float[Tensor, "b k h w"]
    ) -> tuple[Float[Tensor, "b c H W"], Float[Tensor, "b c H W"]]:
        """Mean and log scale of the distribution of pixels. Raises ValueError if it predicts none."""
        raise ValueError(f"a {type(self).__name__} predicts no distribution of pixels: use a pixel error")

    @property
    def last_weight(self) -> Tensor:
        """The matrix of its last layer. Raises ValueError if it does not end with one."""
        raise ValueError(f"a {type(self).__name__} has no last layer for the adaptive weight of a discriminator")
