"""Residual quantization: a token is several codes, each for what the codes before it have left over.

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

# Axes: b pictures, n tokens, c latent channels, h w grid, p places of all pictures.


@dataclass(frozen=True)
class RQConfig:
    """A token has `depth` codes, all out of one `codebook` if it is `shared`, else each out of its own."""

    codebook: VQConfig = VQConfig(16384, 256, normalised=False)
    depth: int = 4
    shared: bool = True

    def __post_init__(self):
        if self.depth < 1:
            raise ValueError(f"residual quantization needs a depth of at least 1, got {self.depth}")
        if self.codebook.normalised:
            raise ValueError("what codes leave over becomes small, so codes of length 1 cannot be searched for it")

    def build(self) -> "RQ":
        return RQ(self)


class RQ(nn.Module, Quantizer):
    """The latent is the sum of a token's codes; the first ones matter most."""

    def __init__(self, config: RQConfig):
        super().__init__()
        self.config = config
        self.codebooks = nn.ModuleList(config.codebook.build() for _ in range(1 if config.shared else config.depth))
        self.space = Codes((config.codebook.codebook_size,) * config.depth)
        self.channels = self.encoder_channels = config.codebook.code_dim

    def quantize(self, latent: Float[Tensor, "b c h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """The losses are means over the depths, of the sums so far: each of them shall be near the latent."""
        check_latent(latent, self.channels, f"RQ of {self.space}", layout)
        latent = latent.float()
        left, painted = latent.detach(), torch.zeros_like(latent)
        ids, rows, commitments, distances = [], [], [], []
        for depth in range(self.config.depth):
            rows.append(rearrange(left, "b c h w -> (b h w) c"))
            ids.append(nearest(rows[-1], self._book(depth).codes.detach()))
            code = self._book(depth).lookup(ids[-1].view(len(latent), -1), layout)
            left, painted = left - code.detach(), painted + code
            commitments.append(mse_loss(latent, painted.detach()))
            distances.append(mse_loss(painted, latent.detach()))
        losses = {"commitment_loss": torch.stack(commitments).mean()}
        if self.config.codebook.learning == "gradient":
            losses["codebook_loss"] = torch.stack(distances).mean()
        self._learn(rows, ids)
        tokens = torch.stack(ids, dim=-1).view(len(latent), -1, self.config.depth)
        return Quantized(tokens, tokens, painted.detach() + (latent - latent.detach()), losses)

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """Sums of codes, or their means under distributions [b, n, depth, size]."""
        codes = [self._book(depth).lookup(tokens[:, :, depth], layout) for depth in range(self.config.depth)]
        return torch.stack(codes).sum(0)

    def _book(self, depth: int) -> VQ:
        book = self.codebooks[0 if self.config.shared else depth]
        assert isinstance(book, VQ)
        return book

    def _learn(self, rows: list[Float[Tensor, "p c"]], ids: list[Int[Tensor, "p"]]) -> None:
        """Move on what runs with the batches, in a shared codebook for all depths at once."""
        if self.config.shared:
            rows, ids = [torch.cat(rows)], [torch.cat(ids)]
        for depth, (places, found) in enumerate(zip(rows, ids, strict=True)):
            self._book(depth).count(places, found)
            self._book(depth).revive(places)
