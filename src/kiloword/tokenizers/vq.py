"""Vector quantization: a token is the nearest vector of a codebook that is trained with the network.

van den Oord et al. 2017 (VQ-VAE), with the running means of its appendix A.1; short codes of length 1 as in Yu et al.
2021 (ViT-VQGAN), revival of unused codes as in Dhariwal et al. 2020 (Jukebox).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding, mse_loss, normalize

from kiloword.noise import Noise
from kiloword.tokenizers.nearest_code import nearest
from kiloword.tokenizers.quantizer import UNKNOWN, Quantized, Quantizer, check_latent
from kiloword.tokens import Categorical, Layout

# Axes: b pictures, n tokens, c channels of a code, h w grid, p vectors of all pictures, v codes.


@dataclass(frozen=True)
class VQConfig:
    """With `normalised`, latents and codes have length 1 wherever they are compared and looked up.

    Codes are trained by the "gradient" of codebook_loss, or are the running "mean", by `decay`, of the latents nearest
    to them. A code that is used less than `revive` times the average is reset to a latent.
    """

    codebook_size: int = 16384
    code_dim: int = 8
    normalised: bool = True
    learning: str = "gradient"
    decay: float = 0.99
    revive: float = 0.0

    def __post_init__(self):
        if min(self.codebook_size, self.code_dim) < 1:
            raise ValueError(f"a codebook has codes, not {self.codebook_size} of {self.code_dim} channels")
        if self.learning not in ("gradient", "mean"):
            raise ValueError(f"a codebook learns by 'gradient' or as a 'mean', not by {self.learning!r}")
        if not 0 <= self.decay < 1 or not 0 <= self.revive < 1:
            raise ValueError(f"decay and revive lie in [0, 1), got {self.decay} and {self.revive}")

    def build(self) -> "VQ":
        return VQ(self)


class VQ(nn.Module, Quantizer):
    """Returns the codes as the latent, with a straight-through gradient."""

    codebook: Tensor
    share: Tensor
    total: Tensor

    def __init__(self, config: VQConfig):
        super().__init__()
        self.config = config
        self.space = Categorical(config.codebook_size)
        self.channels = self.encoder_channels = config.code_dim
        codes = normalize(torch.randn(config.codebook_size, config.code_dim), dim=1)
        if config.learning == "gradient":
            self.codebook = nn.Parameter(codes)
        else:
            self.register_buffer("codebook", codes)
            self.register_buffer("total", codes / config.codebook_size)
        if config.learning == "mean" or config.revive:
            self.register_buffer("share", torch.full((config.codebook_size,), 1 / config.codebook_size))

    @property
    def codes(self) -> Float[Tensor, "v c"]:
        """The codebook as it is compared and looked up."""
        return normalize(self.codebook, dim=1) if self.config.normalised else self.codebook

    def quantize(self, latent: Float[Tensor, "b c h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """Ids in raster order. In training mode the codebook's running means are updated."""
        check_latent(latent, self.channels, f"VQ of {self.config.codebook_size} codes")
        vectors = rearrange(latent.float(), "b c h w -> (b h w) c")
        vectors = normalize(vectors, dim=1) if self.config.normalised else vectors
        self.revive(vectors.detach())
        codes = self.codes
        ids = nearest(vectors.detach(), codes.detach())
        found = embedding(ids, codes)
        losses = {"commitment_loss": mse_loss(vectors, found.detach())}
        if self.config.learning == "gradient":
            losses["codebook_loss"] = mse_loss(found, vectors.detach())
        self.count(vectors.detach(), ids)
        straight = found.detach() + (vectors - vectors.detach())
        (b, _, h, w), tokens = latent.shape, ids.view(len(latent), -1)
        return Quantized(tokens, tokens, rearrange(straight, "(b h w) c -> b c h w", b=b, h=h, w=w), losses)

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """Codes of ids, or mean codes under distributions."""
        if tokens.is_floating_point():
            values = tokens @ self.codes
        else:
            values = embedding(tokens.clamp(min=0), self.codes) * (tokens != UNKNOWN)[..., None]
        return rearrange(values, "b (h w) c -> b c h w", h=layout.sizes[-1][0])

    @torch.no_grad()
    def revive(self, vectors: Float[Tensor, "p c"]) -> None:
        """In training mode, reset hardly used codes to latents from all over the batch, with a uniform share."""
        if not self.training or not self.config.revive:
            return
        average = 1 / self.config.codebook_size
        dead = (self.share < self.config.revive * average).nonzero()[:, 0][: len(vectors)]
        if not len(dead):
            return
        chosen = vectors[torch.arange(len(dead), device=dead.device) * len(vectors) // len(dead)].to(self.codebook)
        self.codebook[dead], self.share[dead] = chosen, average
        if self.config.learning == "mean":
            self.total[dead] = chosen * average

    @torch.no_grad()
    def count(self, vectors: Float[Tensor, "p c"], ids: Int[Tensor, "p"]) -> None:
        """In training mode, update the running usage of codes, and the codes themselves if they are means."""
        if not self.training or not hasattr(self, "share"):
            return
        weight = 1 - self.config.decay
        share = torch.bincount(ids, minlength=self.config.codebook_size) / len(ids)
        self.share.lerp_(share.to(self.share), weight)
        if self.config.learning == "mean":
            total = torch.zeros_like(self.total).index_add_(0, ids, vectors.to(self.total)) / len(ids)
            self.total.lerp_(total, weight)
            used = self.share[:, None] > 1e-12
            self.codebook.copy_(torch.where(used, self.total / self.share.clamp(min=1e-12)[:, None], self.codebook))
