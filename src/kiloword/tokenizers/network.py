"""The law of the networks of an autoencoder: pixels to latents and back.

Rumelhart et al. 1986 for autoencoders; the channels of the latent are the quantizer's.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from kiloword.tokens import Layout

# Axes: b pictures, c channels, H W pixels, k latent channels, h w grid.


@runtime_checkable
class NetworkConfig(Protocol):
    """Settings from which an encoder or its mirror image, a decoder, is built."""

    @property
    def channels(self) -> int: ...

    @property
    def stride(self) -> int: ...

    def build_encoder(self, latent_channels: int) -> nn.Module: ...

    def build_decoder(self, latent_channels: int) -> nn.Module: ...


@runtime_checkable
class Encoder(Protocol):
    def __call__(self, pixels: Float[Tensor, "b c H W"], layout: Layout) -> Float[Tensor, "b k h w"]: ...


@runtime_checkable
class Decoder(Protocol):
    def __call__(self, latent: Float[Tensor, "b k h w"], layout: Layout) -> Float[Tensor, "b c H W"]: ...


@runtime_checkable
class Local(Protocol):
    """The power of networks most of which a large picture can go through piece by piece.

    `steps` one after the other are the network. At its coarse end, the encoder's last and the decoder's first `wide` of
    them need the whole picture; in the others a place sees its surroundings only, but for group norms.
    """

    @property
    def steps(self) -> Sequence[Callable[[Tensor], Tensor]]: ...

    @property
    def wide(self) -> int: ...
