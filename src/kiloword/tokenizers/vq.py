"""Vector quantization: a token is the nearest vector of a codebook that is learned with the network.

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

# Axes: b pictures, n tokens, c channels of a code, h w grid, p places of all pictures, v codes.


@dataclass(frozen=True)
class VQConfig:
    """With `normalised`, latents and codes are brought to length 1 before they are compared and looked up.

    A codebook learns by the "gradient" of codebook_loss, or each code is the running "mean", by `decay`, of the latents
    nearest to it. A code that is used less than `revive` times its fair share starts anew, where a latent is.
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
    """The latent returned holds the codes themselves, with the gradient of the latents that they stand for."""

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
        """Ids in raster order. In training mode the codebook's running means move on."""
        check_latent(latent, self.channels, f"VQ of {self.config.codebook_size} codes")
        places = rearrange(latent.float(), "b c h w -> (b h w) c")
        places = normalize(places, dim=1) if self.config.normalised else places
        self.revive(places.detach())
        codes = self.codes
        ids = nearest(places.detach(), codes.detach())
        found = embedding(ids, codes)
        losses = {"commitment_loss": mse_loss(places, found.detach())}
        if self.config.learning == "gradient":
            losses["codebook_loss"] = mse_loss(found, places.detach())
        self.count(places.detach(), ids)
        straight = found.detach() + (places - places.detach())
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
    def revive(self, places: Float[Tensor, "p c"]) -> None:
        """In training mode, codes that are hardly used take over latents from all over the batch, and a fair share."""
        if not self.training or not self.config.revive:
            return
        fair = 1 / self.config.codebook_size
        dead = (self.share < self.config.revive * fair).nonzero()[:, 0][: len(places)]
        if not len(dead):
            return
        chosen = places[torch.arange(len(dead), device=dead.device) * len(places) // len(dead)].to(self.codebook)
        self.codebook[dead], self.share[dead] = chosen, fair
        if self.config.learning == "mean":
            self.total[dead] = chosen * fair

    @torch.no_grad()
    def count(self, places: Float[Tensor, "p c"], ids: Int[Tensor, "p"]) -> None:
        """In training mode, move the codes' running shares of uses on, and the codes themselves if they are means."""
        if not self.training or not hasattr(self, "share"):
            return
        weight = 1 - self.config.decay
        share = torch.bincount(ids, minlength=self.config.codebook_size) / len(ids)
        self.share.lerp_(share.to(self.share), weight)
        if self.config.learning == "mean":
            total = torch.zeros_like(self.total).index_add_(0, ids, places.to(self.total)) / len(ids)
            self.total.lerp_(total, weight)
            seen = self.share[:, None] > 1e-12
            self.codebook.copy_(torch.where(seen, self.total / self.share.clamp(min=1e-12)[:, None], self.codebook))
