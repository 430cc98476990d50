"""Continuous latents: a token is a vector drawn from a Gaussian that is kept near the standard one.

Kingma and Welling 2014 (variational autoencoders), as the KL autoencoders of Rombach et al. 2022 (latent diffusion) and
Li et al. 2024 (MAR).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kiloword.noise import Noise
from kiloword.tokenizers.quantizer import Quantized, Quantizer, check_latent
from kiloword.tokens import Layout, Vector

# Axes: b pictures, n tokens, c latent channels, e = 2c channels of mean and log variance, h w grid.


@dataclass(frozen=True)
class KLConfig:
    """Latents of `dim` channels; tokens are latents times `scale`, which brings them to about unit variance."""

    dim: int = 16
    scale: float = 1.0

    def __post_init__(self):
        if self.dim < 1 or not 0 < self.scale < float("inf"):
            raise ValueError(f"latents have at least one channel and a positive scale, got {self.dim} and {self.scale}")

    def build(self) -> "KL":
        return KL(self)


@dataclass(frozen=True)
class Gaussian:
    """Independent normal distributions, one a number of the latent."""

    mean: Float[Tensor, "b c h w"]
    log_variance: Float[Tensor, "b c h w"]

    @property
    def deviation(self) -> Float[Tensor, "b c h w"]:
        return (self.log_variance / 2).exp()

    @property
    def divergence(self) -> Float[Tensor, "b c h w"]:
        """Kullback-Leibler divergence from the standard normal distribution, in nats a number."""
        return (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance) / 2


class KL(nn.Module, Quantizer):
    """No parameters: the encoder gives the means and the log variances."""

    def __init__(self, config: KLConfig):
        super().__init__()
        self.config = config
        self.space = Vector(config.dim)
        self.channels, self.encoder_channels = config.dim, 2 * config.dim

    def posterior(self, latent: Float[Tensor, "b e h w"]) -> Gaussian:
        """The distribution that an encoder's output stands for."""
        check_latent(latent, self.encoder_channels, f"KL of {self.config.dim} channels")
        mean, log_variance = latent.float().chunk(2, dim=1)
        return Gaussian(mean, log_variance.clamp(-30, 20))

    def quantize(self, latent: Float[Tensor, "b e h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """A draw with that noise, one number a number of the latent; without noise, the means."""
        posterior = self.posterior(latent)
        drawn = posterior.mean
        if noise is not None:
            normal = noise.normal(tuple(drawn.shape[1:]), torch.arange(len(drawn)))
            drawn = drawn + posterior.deviation * normal.to(drawn)
        tokens = rearrange(drawn.detach() * self.config.scale, "b c h w -> b (h w) c")
        return Quantized(tokens, tokens, drawn, {"kl_loss": posterior.divergence.mean()})

    def lookup(self, tokens: Float[Tensor, "b n c"], layout: Layout) -> Float[Tensor, "b c h w"]:
        """The latents of tokens."""
        return rearrange(tokens / self.config.scale, "b (h w) c -> b c h w", h=layout.sizes[-1][0])
