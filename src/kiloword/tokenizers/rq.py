"""Residual quantization: a token is several codes, each for the residual of the codes before it.

Lee et al. 2022 (Autoregressive Image Generation using Residual Quantization: RQ-VAE), section 3.1.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from kiloword.noise import Noise
from kiloword.tokenizers.nearest_code import nearest
from kiloword.tokenizers.quantizer import Quantized, Quantizer, check_latent
from kiloword.tokenizers.vq import VQ, VQConfig
from kiloword.tokens import Codes, Layout

# Axes: b pictures, n tokens, c latent channels, h w grid, p vectors of all pictures.


@dataclass(frozen=True)
class RQConfig:
    """A token has `depth` codes, all of one `codebook` if it is `shared`, else of one for each depth."""

    codebook: VQConfig = VQConfig(16384, 256, normalised=False)
    depth: int = 4
    shared: bool = True

    def __post_init__(self):
        if self.depth < 1:
            raise ValueError(f"residual quantization needs a depth of at least 1, got {self.depth}")
        if self.codebook.normalised:
            raise ValueError("residuals become small, so codes of length 1 cannot quantize them")

    def build(self) -> "RQ":
        return RQ(self)


class RQ(nn.Module, Quantizer):
    """The latent is the sum of a token's codes; the first ones have the largest share."""

    def __init__(self, config: RQConfig):
        super().__init__()
        self.config = config
        self.codebooks = nn.ModuleList(config.codebook.build() for _ in range(1 if config.shared else config.depth))
        self.space = Codes((config.codebook.codebook_size,) * config.depth)
        self.channels = self.encoder_channels = config.codebook.code_dim

    def quantize(self, latent: Float[Tensor, "b c h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """The losses are means over the depths: distances of each partial sum of codes to the latent."""
        check_latent(latent, self.channels, f"RQ of {self.space}", layout)
        latent = latent.float()
        residual, decoded = latent.detach(), torch.zeros_like(latent)
        ids, vectors, commitments, distances = [], [], [], []
        for depth in range(self.config.depth):
            vectors.append(rearrange(residual, "b c h w -> (b h w) c"))
            ids.append(nearest(vectors[-1], self._book(depth).codes.detach()))
            code = self._book(depth).lookup(ids[-1].view(len(latent), -1), layout)
            residual, decoded = residual - code.detach(), decoded + code
            commitments.append(mse_loss(latent, decoded.detach()))
            distances.append(mse_loss(decoded, latent.detach()))
        losses = {"commitment_loss": torch.stack(commitments).mean()}
        if self.config.codebook.learning == "gradient":
            losses["codebook_loss"] = torch.stack(distances).mean()
        self._learn(vectors, ids)
        tokens = torch.stack(ids, dim=-1).view(len(latent), -1, self.config.depth)
        return Quantized(tokens, tokens, decoded.detach() + (latent - latent.detach()), losses)

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """Sums of codes, or their means under distributions [b, n, depth, size]."""
        codes = [self._book(depth).lookup(tokens[:, :, depth], layout) for depth in range(self.config.depth)]
        return torch.stack(codes).sum(0)

    def _book(self, depth: int) -> VQ:
        book = self.codebooks[0 if self.config.shared else depth]
        assert isinstance(book, VQ)
        return book

    def _learn(self, vectors: list[Float[Tensor, "p c"]], ids: list[Int[Tensor, "p"]]) -> None:
        """Update running means and revive unused codes; a shared codebook once for all depths."""
        if self.config.shared:
            vectors, ids = [torch.cat(vectors)], [torch.cat(ids)]
        for depth, (each, found) in enumerate(zip(vectors, ids, strict=True)):
            self._book(depth).count(each, found)
            self._book(depth).revive(each)
