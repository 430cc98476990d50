"""Gumbel-softmax quantization: the encoder predicts logits of the codes, and training samples soft ones.

Jang et al. 2016 and Maddison et al. 2016 for the relaxation, Ramesh et al. 2021 (DALL-E, the dVAE) for its use here.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import embedding

from kiloword.noise import Noise
from kiloword.tokenizers.quantizer import UNKNOWN, Quantized, Quantizer, check_latent
from kiloword.tokens import Categorical, Layout

# Axes: b pictures, n tokens, v values of a token (the codebook's size), c latent channels, h w grid.


@dataclass(frozen=True)
class GumbelConfig:
    """`temperature` is the one to begin with: 1 is the distribution itself, near 0 a drawn code is nearly one-hot."""

    codebook_size: int = 8192
    code_dim: int = 128
    temperature: float = 1.0

    def __post_init__(self):
        if min(self.codebook_size, self.code_dim) < 1:
            raise ValueError(f"a codebook needs codes and dimensions, got {self.codebook_size} of {self.code_dim}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"the temperature of a relaxation is above 0, got {self.temperature}")

    def build(self) -> "Gumbel":
        return Gumbel(self)


class Gumbel(nn.Module, Quantizer):
    """Latents of the encoder are logits of the codes. The trainer anneals `temperature`.

    In the dVAE the codebook is a 1x1 convolution over one-hot codes, so it has a bias. It belongs to
    every code: the latent of an unknown token is zero, without the bias.
    """

    temperature: float

    def __init__(self, config: GumbelConfig):
        super().__init__()
        self.config = config
        self.space = Categorical(config.codebook_size)
        self.channels, self.encoder_channels = config.code_dim, config.codebook_size
        self.temperature = config.temperature
        self.codebook = nn.Parameter(torch.randn(config.codebook_size, config.code_dim))
        self.bias = nn.Parameter(torch.zeros(config.code_dim))

    def quantize(self, latent: Float[Tensor, "b v h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """The likeliest codes; with noise, codes drawn softly: `latent` is a mixture, `target` its largest share.

        `kl_loss` is there in training: with noise, or when the logits require a gradient.
        """
        check_latent(latent, self.encoder_channels, f"Gumbel of {self.space}")
        logits = rearrange(latent.float(), "b v h w -> b (h w) v")
        drawn = logits if noise is None else logits + _gumbel(noise, latent)
        ids = drawn.argmax(-1)
        learning = noise is not None or latent.requires_grad
        soft = torch.softmax(drawn / self.temperature, dim=-1) if learning else None
        losses = {} if soft is None else {"kl_loss": kl_to_uniform(logits)}
        looked_up = self.lookup(ids if soft is None or noise is None else soft, layout)
        if soft is not None and noise is None:
            mixture = _grid(soft @ self.codes.detach(), layout)
            looked_up = looked_up + (mixture - mixture.detach())
        return Quantized(target=ids, shown=ids, latent=looked_up, losses=losses)

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """The codes of ids, or their means under distributions [b, n, v]."""
        if tokens.is_floating_point():
            return _grid(tokens @ self.codes, layout)
        known = (tokens != UNKNOWN).unsqueeze(-1)
        return _grid(embedding(tokens.clamp(min=0), self.codes) * known, layout)

    @property
    def codes(self) -> Float[Tensor, "v c"]:
        """The vector of each code, with the bias."""
        return self.codebook + self.bias


def _grid(vectors: Float[Tensor, "b n c"], layout: Layout) -> Float[Tensor, "b c h w"]:
    return rearrange(vectors, "b (h w) c -> b c h w", h=layout.sizes[-1][0])


def kl_to_uniform(logits: Float[Tensor, "b n v"]) -> Float[Tensor, ""]:
    """KL divergence from the uniform distribution over codes, in nats a token: 0 to log v."""
    log_share = torch.log_softmax(logits, dim=-1)
    return math.log(logits.shape[-1]) + (log_share.exp() * log_share).sum(-1).mean()


def _gumbel(noise: Noise, latent: Float[Tensor, "b v h w"]) -> Float[Tensor, "b n v"]:
    """Standard Gumbel numbers, by inverse transform; one uniform for every logit in their order."""
    uniform = noise.uniform(tuple(latent.shape[1:]), torch.arange(len(latent))).clamp(min=1e-20)
    drawn = -torch.log(-torch.log(uniform))
    return rearrange(drawn.to(latent.device, torch.float32), "b v h w -> b (h w) v")
