"""Likelihood as the error: the negative log-likelihood of the true pixels under the decoder's distribution.

Ramesh et al. 2021 (DALL-E), appendix A.3.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kiloword.tokenizers.logit_laplace import logit_laplace, unmap_pixels
from kiloword.tokenizers.network import Decoder
from kiloword.tokens import Layout
from kiloword.training.losses.error import Judged

# Axes: b pictures, c channels, H W pixels, k latent channels, h w grid.


@dataclass(frozen=True)
class LogitLaplace:
    """Nats a channel of a pixel, for decoders that have a `distribution`; drawn are its means."""

    def __call__(
        self, decoder: Decoder, latent: Float[Tensor, "b k h w"], layout: Layout, true: Float[Tensor, "b c H W"]
    ) -> Judged:
        mean, log_scale = (part.float() for part in decoder.distribution(latent))
        return unmap_pixels(torch.sigmoid(mean)), logit_laplace(true, mean, log_scale).mean(dim=(1, 2, 3))
