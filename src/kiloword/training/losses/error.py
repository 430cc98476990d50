"""The law of errors, and the plain one: how far are the pixels off, over black and over white?

Squared and absolute error as in van den Oord et al. 2017 and Esser et al. 2021; colour counts where it can be seen.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from kiloword.pixels import composite
from kiloword.tokenizers.network import Decoder
from kiloword.tokens import Layout

# Axes: b pictures, c channels, H W pixels, k latent channels, h w grid.

Judged = tuple[Float[Tensor, "b c H W"], Float[Tensor, "b"]]


@runtime_checkable
class Error(Protocol):
    """What a decoder draws from some latents, and the error of each of those pictures."""

    def __call__(
        self, decoder: Decoder, latent: Float[Tensor, "b k h w"], layout: Layout, true: Float[Tensor, "b c H W"]
    ) -> Judged: ...


@dataclass(frozen=True)
class Difference:
    """Squared error and `absolute` times the absolute one."""

    absolute: float = 0.1

    def __post_init__(self):
        if self.absolute < 0:
            raise ValueError(f"the weight of the absolute error is at least 0, got {self.absolute}")

    def __call__(
        self, decoder: Decoder, latent: Float[Tensor, "b k h w"], layout: Layout, true: Float[Tensor, "b c H W"]
    ) -> Judged:
        drawn = decoder(latent, layout).float()
        return drawn, difference(drawn, true, self.absolute)


def difference(drawn: Float[Tensor, "b 4 H W"], true: Float[Tensor, "b 4 H W"], absolute: float) -> Float[Tensor, "b"]:
    """Squared and absolute error of each picture, the mean over both backgrounds."""
    total = torch.zeros(len(drawn), device=drawn.device)
    for background in (-1.0, 1.0):
        error = composite(drawn.float(), background) - composite(true, background)
        total = total + error.square().mean(dim=(1, 2, 3)) + absolute * error.abs().mean(dim=(1, 2, 3))
    return total / 2
