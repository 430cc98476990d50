"""Multi-codebook quantization: the latent is cut into chunks, and every chunk has a separate small codebook.

Ma et al. 2025 (UniTok), section 3.2; unit-length codes and cosine similarity as in Yu et al. 2021 (ViT-VQGAN).
"""

from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from kiloword.noise import Noise
from kiloword.tokenizers.nearest_code import nearest
from kiloword.tokenizers.quantizer import UNKNOWN, Quantized, Quantizer, check_latent
from kiloword.tokens import Codes, Layout

# Axes: b pictures, n tokens, k codebooks, v codes of each, d channels of a code, c = k d channels, h w grid.


@dataclass(frozen=True)
class MulticodeConfig:
    """`codebooks` of `codebook_size` codes each; a code has `code_dim` channels of the latent."""

    codebooks: int = 8
    codebook_size: int = 4096
    code_dim: int = 8

    def __post_init__(self):
        if min(self.codebooks, self.codebook_size, self.code_dim) < 1:
            raise ValueError(
                f"codebooks, their size and the codes' channels must be at least 1: "
                f"{self.codebooks, self.codebook_size, self.code_dim}"
            )

    def build(self) -> "Multicode":
        return Multicode(self)


class Multicode(nn.Module, Quantizer):
    """The nearest code of each codebook by angle: chunks and codes are always normalised to length 1."""

    def __init__(self, config: MulticodeConfig):
        super().__init__()
        self.config = config
        self.space = Codes((config.codebook_size,) * config.codebooks)
        self.channels = self.encoder_channels = config.codebooks * config.code_dim
        codes = torch.randn(config.codebooks * config.codebook_size, config.code_dim)
        self.codebook = nn.Parameter(normalize(codes, dim=-1))  # the codebooks concatenated

    @property
    def codes(self) -> Float[Tensor, "k v d"]:
        return rearrange(normalize(self.codebook, dim=-1), "(k v) d -> k v d", k=self.config.codebooks)

    def quantize(self, latent: Float[Tensor, "b c h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """`commitment_loss` pulls the latent's chunks to their codes, `codebook_loss` the codes to the chunks."""
        check_latent(latent, self.encoder_channels, f"Multicode of {self.config.codebooks} codebooks", layout)
        (b, _, h, w), k = latent.shape, self.config.codebooks
        chunks = normalize(rearrange(latent.float(), "b (k d) h w -> k (b h w) d", k=k), dim=-1)
        pairs = zip(chunks.detach(), self.codes.detach(), strict=True)
        ids = rearrange(torch.stack([nearest(vectors, codes) for vectors, codes in pairs]), "k (b n) -> b n k", b=b)
        unit = rearrange(chunks, "k (b h w) d -> b (k d) h w", b=b, h=h, w=w)
        found = self.lookup(ids, layout)
        losses = {"commitment_loss": mse_loss(unit, found.detach()), "codebook_loss": mse_loss(found, unit.detach())}
        return Quantized(ids, ids, found.detach() + (unit - unit.detach()), losses)

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """Codes of length 1 side by side, or their means under distributions [b, n, k, v]."""
        if tokens.is_floating_point():
            found = einsum(tokens, self.codes, "b n k v, k v d -> b n k d")
        else:
            book = torch.arange(self.config.codebooks, device=tokens.device)
            found = self.codes[book, tokens.clamp(min=0)] * (tokens != UNKNOWN)[..., None]
        return rearrange(found, "b (h w) k d -> b (k d) h w", h=layout.sizes[-1][0])
