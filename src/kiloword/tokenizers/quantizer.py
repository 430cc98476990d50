"""The law of quantizers: from a network's latents to tokens and back.

van den Oord et al. 2017 (VQ-VAE) for the idea.
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from kiloword.noise import Noise
from kiloword.tokens import Layout, TokenSpace

# Axes: b pictures, n tokens, c latent channels, h w grid.


@dataclass(frozen=True)
class Quantized:
    """What a picture became: `target` is to be predicted, `shown` is what later tokens see (mostly the same)."""

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
    """Latents of one grid to tokens, with a straight-through gradient, and back."""

    @property
    def space(self) -> TokenSpace: ...

    @property
    def channels(self) -> int: ...

    def quantize(self, latent: Float[Tensor, "b c h w"], layout: Layout, noise: Noise | None = None) -> Quantized: ...

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]: ...
