"""Residual quantization on grids from coarse to fine: each grid encodes the residual of those before.

Tian et al. 2024 (Visual Autoregressive Modeling: VAR), algorithms 1 and 2.
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, mse_loss, normalize

from kiloword.noise import Noise
from kiloword.tokenizers.nearest_code import nearest_in, table_of
from kiloword.tokenizers.quantizer import UNKNOWN, Quantized, Quantizer, check_latent
from kiloword.tokenizers.vq import VQConfig
from kiloword.tokens import Categorical, Layout, in_proportion

# Axes: b pictures, n tokens of all grids, k tokens of one, c latent channels, h w the finest grid, s t a coarser one,
# d u a table of codes.


@dataclass(frozen=True)
class ResidualConfig:
    """`scales` are the sides of square grids, coarse to fine; other pictures have as many grids, in proportion.

    Codes enlarged to the finest grid become mix * phi(codes) + (1 - mix) * codes, with a convolution phi. The grids
    share `phis` convolutions; 0: one for each grid. `by_angle` searches codes by cosine similarity.
    """

    codebook: VQConfig = VQConfig(4096, 32, normalised=False)
    scales: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    phis: int = 4
    mix: float = 0.5
    by_angle: bool = False

    def __post_init__(self):
        object.__setattr__(self, "scales", tuple(self.scales))
        if not self.scales or self.scales[0] < 1 or list(self.scales) != sorted(self.scales):
            raise ValueError(f"scales are sides from 1 on that become no smaller, got {self.scales}")
        if self.phis < 0 or not 0 <= self.mix <= 1:
            raise ValueError(f"there are 0 or more phis, mixed in from 0 to 1, got {self.phis} and {self.mix}")
        if self.codebook.normalised:
            raise ValueError("residuals become small, so codes of length 1 cannot quantize them")
        if self.by_angle and self.codebook.learning == "mean":
            raise ValueError("a codebook that is searched by angle cannot learn as a mean of what is near it")

    def build(self) -> "Residual":
        return Residual(self)


class Residual(nn.Module, Quantizer):
    """The latent is the sum over all grids; they share one codebook."""

    def __init__(self, config: ResidualConfig):
        super().__init__()
        self.config = config
        self.codebook = config.codebook.build()
        self.space = Categorical(config.codebook.codebook_size)
        self.channels = self.encoder_channels = config.codebook.code_dim
        count = (config.phis or len(config.scales)) if config.mix else 0
        self.phis = nn.ModuleList(nn.Conv2d(self.channels, self.channels, 3, padding=1) for _ in range(count))

    @property
    def multiscale(self) -> "Residual":
        return self

    def grids(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """As many grids as there are scales; in small pictures some of them are equal."""
        return in_proportion([(side, side) for side in self.config.scales], height, width)

    def frame(self, height: int, width: int) -> tuple[int, int]:
        """The size of the latent."""
        return height, width

    def quantize(self, latent: Float[Tensor, "b c h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        """Ids of all grids. The losses are means over the grids: distances of the partial sums to the latent."""
        check_latent(latent, self.channels, f"residual quantization of {self.channels} channels", layout)
        latent = latent.float()
        residual, decoded = latent.detach(), torch.zeros_like(latent)
        codes = self.codebook.codes.detach()
        table = table_of(normalize(codes, dim=1) if self.config.by_angle else codes)
        ids, vectors, commitments, distances = [], [], [], []
        for scale, size in enumerate(layout.sizes):
            vectors.append(rearrange(interpolate(residual, size, mode="area"), "b c s t -> b (s t) c"))
            ids.append(self._search(table, vectors[-1]))
            stroke = self.stroke(ids[-1], layout, scale)
            residual, decoded = residual - stroke.detach(), decoded + stroke
            commitments.append(mse_loss(latent, decoded.detach()))
            distances.append(mse_loss(decoded, latent.detach()))
        tokens = torch.cat(ids, dim=1)
        every = torch.cat(vectors, dim=1).flatten(0, 1)
        self.codebook.count(every, tokens.flatten())
        self.codebook.revive(every)
        losses = {"commitment_loss": torch.stack(commitments).mean(), "codebook_loss": torch.stack(distances).mean()}
        return Quantized(tokens, tokens, decoded.detach() + (latent - latent.detach()), losses)

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """Sum over the grids of codes, or of means under distributions. A phi's bias counts where codes are known."""
        return self._sum(tokens, layout, len(layout.sizes))

    def canvas(self, shown: Tensor, layout: Layout, scale: int) -> Float[Tensor, "b c s t"]:
        """The sum of the grids before `scale`, averaged over the cells of that grid."""
        return self.shrink(self._sum(shown, layout, scale), layout, scale)

    def shrink(self, canvas: Float[Tensor, "b c h w"], layout: Layout, scale: int) -> Float[Tensor, "b c s t"]:
        """Averages over the cells of grid `scale`."""
        return interpolate(canvas, layout.sizes[scale], mode="area")

    def _sum(self, tokens: Tensor, layout: Layout, scales: int) -> Float[Tensor, "b c h w"]:
        """The sum of the first `scales` grids."""
        canvas = torch.zeros(len(tokens), self.channels, *layout.sizes[-1], device=tokens.device)
        for scale in range(scales):
            canvas = canvas + self.stroke(tokens[:, layout.part(scale)], layout, scale)
        return canvas

    def _search(self, table: Float[Tensor, "d u"], vectors: Float[Tensor, "b k c"]) -> Int[Tensor, "b k"]:
        """The nearest codes of one grid."""
        vectors = normalize(vectors, dim=2) if self.config.by_angle else vectors
        return nearest_in(table, vectors.flatten(0, 1)).view(vectors.shape[:2])

    def stroke(self, tokens: Tensor, layout: Layout, scale: int) -> Float[Tensor, "b c h w"]:
        """The latents that the tokens of one grid add, at the size of the finest grid."""
        codes = self.codebook.lookup(tokens, Layout((layout.sizes[scale],))).float()
        codes = interpolate(codes, layout.sizes[-1], mode="bicubic")
        if not self.phis:
            return codes
        phi = self.phis[phi_of(scale, len(layout.sizes), len(self.phis))]
        assert isinstance(phi, nn.Conv2d) and phi.bias is not None
        known = tokens.sum(-1) if tokens.is_floating_point() else (tokens != UNKNOWN).float()
        known = rearrange(known, "b (s t) -> b 1 s t", s=layout.sizes[scale][0])
        known = interpolate(known, layout.sizes[-1], mode="bicubic")
        with torch.autocast(codes.device.type, enabled=False):
            mixed = conv2d(codes, phi.weight, padding=1) + known * rearrange(phi.bias, "c -> c 1 1")
        return (1 - self.config.mix) * codes + self.config.mix * mixed


def phi_of(scale: int, scales: int, phis: int) -> int:
    """Which phi a scale uses: that whose tick is nearest on the way from the first scale, 0, to the last, 1.

    With ten scales two lie exactly between ticks: float64 as in the authors' code decides, and the first tick wins.
    """
    margin = 1 / 3 / phis if phis == 4 else 1 / 2 / phis
    ticks = np.linspace(margin, 1 - margin, phis)
    return int(np.argmin(np.abs(ticks - scale / max(1, scales - 1))))
