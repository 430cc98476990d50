"""Binary spherical quantization: the latent is normalised to length 1, and a token is the signs of its channels.

Zhao et al. 2024 (Image and Video Tokenization with Binary Spherical Quantization).
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize, softplus
from torch.special import entr

from kiloword.noise import Noise
from kiloword.tokenizers.quantizer import UNKNOWN, Quantized, Quantizer, check_latent
from kiloword.tokens import Bits, Layout

# Axes: b pictures, n tokens, c latent channels (one a bit), h w grid.

TINY = 1e-6  # mean bits are clamped this far from 0 and 1, where the entropy has no finite gradient


@dataclass(frozen=True)
class BSQConfig:
    """`bits` a token. `sharpness` is the inverse temperature of the soft bits whose entropy is a loss."""

    bits: int = 18
    sharpness: float = 100.0

    def __post_init__(self):
        if self.bits < 1 or not 0 < self.sharpness < math.inf:
            raise ValueError(f"BSQ has bits and a positive sharpness, got {self.bits} and {self.sharpness}")

    def build(self) -> "BSQ":
        return BSQ(self)


class BSQ(nn.Module, Quantizer):
    """No parameters: the codes are the corners of a cube inside the unit sphere."""

    def __init__(self, config: BSQConfig):
        super().__init__()
        self.config = config
        self.space = Bits(config.bits)
        self.channels = self.encoder_channels = config.bits

    def quantize(self, latent: Float[Tensor, "b c h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """Bits in raster order, 1 where a channel is above zero; the gradient is that of the latent of length 1."""
        check_latent(latent, self.channels, f"BSQ of {self.channels} bits")
        unit = normalize(latent.float(), dim=1)
        bits = (unit > 0).long()
        corner, tokens = corners(bits), rearrange(bits, "b c h w -> b (h w) c")
        straight = unit + (corner - unit).detach()
        return Quantized(tokens, tokens, straight, losses_of(unit, corner, self.config.sharpness))

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """Corners of bits, or mean corners under probabilities of 1."""
        return corners(rearrange(tokens, "b (h w) c -> b c h w", h=layout.sizes[-1][0]))


def corners(bits: Tensor) -> Float[Tensor, "b c h w"]:
    """Of [b, c, h, w] bits, unknown ones or probabilities of 1: each a number between -1 / sqrt(c) and 1 / sqrt(c)."""
    signs = 2.0 * bits - 1
    if not bits.is_floating_point():
        signs = signs.masked_fill(bits == UNKNOWN, 0.0)
    return signs / math.sqrt(bits.shape[1])


def losses_of(
    unit: Float[Tensor, "b c h w"], corner: Float[Tensor, "b c h w"], sharpness: float
) -> dict[str, Float[Tensor, ""]]:
    """`commitment_loss` pulls latents to their corners, `entropy_loss` makes bits certain and equally often 0 and 1."""
    return {"commitment_loss": mse_loss(unit, corner.detach()), "entropy_loss": entropy_loss(unit, sharpness)}


def entropy_loss(unit: Float[Tensor, "b c h w"], sharpness: float) -> Float[Tensor, ""]:
    """Mean entropy of the soft bits less that of the mean bits, in nats a bit; -ln 2 where it is best.

    A soft bit is the softmax over its two values of the squared distances to them, bits taken as independent.
    """
    logits = 4 * sharpness / math.sqrt(unit.shape[1]) * unit
    share = torch.sigmoid(logits)
    entropy = softplus(logits) - logits * share
    mean = share.mean(dim=(0, 2, 3)).clamp(TINY, 1 - TINY)
    return entropy.mean() - (entr(mean) + entr(1 - mean)).mean()
