"""The law of quantizers: from a network's latents to tokens and back.

van den Oord et al. 2017 (VQ-VAE) for the idea.
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kiloword.noise import Noise
from kiloword.tokens import Bits, Layout, TokenSpace

# Axes: b pictures, n tokens, c latent channels, e channels from the encoder, h w grid, s t a coarser grid, p vectors.

UNKNOWN = -1  # a token, or a factor of one, that is not known; it looks up to zero


@dataclass(frozen=True)
class Quantized:
    """Quantized pictures: `target` tokens are to be predicted, `shown` are fed to later ones (mostly the same)."""

    target: Tensor
    shown: Tensor
    latent: Float[Tensor, "b c h w"]
    losses: dict[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class QuantizerConfig(Protocol):
    """The settings that a quantizer is built from."""

    def build(self) -> "Quantizer": ...


@runtime_checkable
class Quantizer(Protocol):
    """Latents to tokens, with a straight-through gradient, and back.

    Attributes with a default are optional abilities: a quantizer that has one overrides it.
    """

    space: TokenSpace
    channels: int  # of the latents that `lookup` gives to the decoder
    encoder_channels: int  # of its input: the latent, logits (gumbel), or mean and variance (kl)
    groups: int = 1  # of codes a token, the first of which matter most (Rippel et al. 2014)
    flips: bool = False  # with noise, `shown` has bits flipped against `target` (Han et al. 2024, self-correction)
    temperature: float | None = None  # of soft tokens in training, annealed by the trainer (Jang et al. 2016)
    fits_at_once: bool = False  # `fit` computes the whole codebook, without training (Chen et al. 2020)

    @property
    def multiscale(self) -> "Multiscale | None":
        """The multi-scale quantizer: itself, or None for a single grid."""
        return None

    def quantize(self, latent: Float[Tensor, "b e h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """Raises ValueError, with the numbers, for a latent of the wrong shape and for NaN."""
        ...

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """Latents of tokens; where a token or a factor of it is `UNKNOWN`, its contribution is zero.

        Tokens of a finite space may also be distributions, floats: [b, n, size] for ids,
        [b, n, factors, largest size] for codes, [b, n, bits] for bits, the probability of a 1.
        """
        ...

    def fit(self, pixels: Float[Tensor, "p c"]) -> None:
        """Fit the codebook to latents in one call, if it `fits_at_once`."""
        raise AssertionError(f"a {type(self).__name__} is trained, not fitted at once")


@runtime_checkable
class Multiscale(Protocol):
    """Quantizers whose tokens lie on several grids, coarse to fine (Tian et al. 2024, VAR)."""

    def grids(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """The grids for a latent of that size; the last one is that size itself."""
        ...

    def frame(self, height: int, width: int) -> tuple[int, int]:
        """The finest grid of any picture of that shape: positions are in its units."""
        ...

    def canvas(self, shown: Tensor, layout: Layout, scale: int) -> Float[Tensor, "b c s t"]:
        """The canvas: the sum of the latents of all scales before `scale`, resized to grid `scale`."""
        ...

    def stroke(self, tokens: Tensor, layout: Layout, scale: int) -> Float[Tensor, "b c h w"]:
        """The latents that the tokens of one grid add to the canvas, at the size of the finest grid."""
        ...

    def shrink(self, canvas: Float[Tensor, "b c h w"], layout: Layout, scale: int) -> Float[Tensor, "b c s t"]:
        """A canvas of the finest grid's size, resized to grid `scale`."""
        ...


def forget(tokens: Tensor, known: Bool[Tensor, "b n"], space: TokenSpace) -> Tensor:
    """Tokens with the unknown ones replaced: `UNKNOWN`, zeros, or 0.5 for probabilities of bits."""
    shape = (*known.shape, *(1,) * (tokens.ndim - 2))
    numbers = 0.5 if isinstance(space, Bits) else 0.0
    return torch.where(known.view(shape), tokens, numbers if tokens.is_floating_point() else UNKNOWN)


def check_latent(latent: Tensor, channels: int, who: str, layout: Layout | None = None) -> None:
    """Raise ValueError unless `latent` is [b, channels, h, w], finite, and as large as the layout's last grid."""
    if latent.ndim != 4 or latent.shape[1] != channels:
        raise ValueError(f"{who} needs latents of [b, {channels}, h, w], got {list(latent.shape)}")
    if layout is not None and tuple(latent.shape[2:]) != layout.sizes[-1]:
        h, w = layout.sizes[-1]
        raise ValueError(f"{who}: the layout ends with a grid of {h}x{w}, the latent is {list(latent.shape)}")
    if not torch.isfinite(latent).all():
        raise ValueError(f"{who}: the latent to be quantized holds NaN or infinity")
