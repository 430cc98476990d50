"""Encoder and decoder networks made of transformers: fine patches first, then wide vectors on a coarser grid.

Dosovitskiy et al. 2020 (ViT), Yu et al. 2021 (ViT-VQGAN); merging 2x2 patches as in Liu et al. 2021 (Swin).
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kiloword.tokenizers.network import Decoder, Encoder
from kiloword.tokens import Layout
from kiloword.transformer import StackConfig, Stream

# Axes: b pictures, c channels, H W pixels, h w grid of tokens, t patches, p patch side, m merged patches a side.


@dataclass(frozen=True)
class ViTConfig:
    """Patches of `patch` pixels go through `fine`; `merge` by `merge` of them become one position of `coarse`."""

    fine: StackConfig
    coarse: StackConfig
    patch: int = 8
    merge: int = 2
    channels: int = 4

    def __post_init__(self):
        if min(self.patch, self.merge, self.channels) < 1:
            raise ValueError(f"patch, merge and channels must be at least 1: {self.patch, self.merge, self.channels}")

    @property
    def stride(self) -> int:
        """Pixels a side that one token covers."""
        return self.patch * self.merge

    def build_encoder(self, latent_channels: int) -> "ViTEncoder":
        return ViTEncoder(self, latent_channels)

    def build_decoder(self, latent_channels: int) -> "ViTDecoder":
        return ViTDecoder(self, latent_channels)


class PositionEmbedding(nn.Module):
    """A learned projection of sines and cosines of a patch's position in the frame (Tancik et al. 2020)."""

    waves = 8

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(4 * self.waves, width)

    def forward(self, positions: Float[Tensor, "t 4"], frame: tuple[int, int]) -> Float[Tensor, "t w"]:
        share = positions[:, 2:] / torch.tensor(frame, device=positions.device)
        angles = share[:, :, None] * (math.pi / 2 * torch.arange(1, self.waves + 1, device=positions.device))
        return self.linear(torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1))


def patch_positions(layout: Layout, merge: int, device: torch.device) -> Float[Tensor, "t 4"]:
    """(0, scale, y, x) of the patches of the finest grid, in the frame's units; scale counts halvings of the frame."""
    assert layout.frame is not None
    (h, w), height = layout.sizes[-1], layout.frame[0]
    grid = Layout(((h * merge, w * merge),), layout.frame).positions()
    scale = torch.full((len(grid), 1), math.log2(height / h))
    return torch.cat([torch.zeros_like(scale), scale, grid[:, 1:]], dim=1).to(device)


class ViTEncoder(Encoder):
    """Pixels to latents."""

    def __init__(self, config: ViTConfig, latent_channels: int):
        super().__init__()
        self.config = config
        self.enter = nn.Linear(config.channels * config.patch**2, config.fine.width)
        self.fine_positions = PositionEmbedding(config.fine.width)
        self.fine = config.fine.build()
        self.merge = nn.Linear(config.fine.width * config.merge**2, config.coarse.width)
        self.coarse_positions = PositionEmbedding(config.coarse.width)
        self.coarse = config.coarse.build()
        self.leave = nn.Linear(config.coarse.width, latent_channels)

    def forward(self, pixels: Float[Tensor, "b c H W"], layout: Layout) -> Float[Tensor, "b k h w"]:
        config, (h, w) = self.config, layout.sizes[-1]
        patches = rearrange(pixels, "b c (h p) (w q) -> b (h w) (c p q)", p=config.patch, q=config.patch)
        x = run(self.fine, self.enter(patches), self.fine_positions, layout, config.merge)
        x = rearrange(x, "b (h m w n) d -> b (h w) (m n d)", h=h, w=w, m=config.merge, n=config.merge)
        x = run(self.coarse, self.merge(x), self.coarse_positions, layout, 1)
        return rearrange(self.leave(x), "b (h w) k -> b k h w", h=h)


class ViTDecoder(Decoder):
    """Latents to pixels, the encoder's mirror image."""

    def __init__(self, config: ViTConfig, latent_channels: int):
        super().__init__()
        self.config = config
        self.enter = nn.Linear(latent_channels, config.coarse.width)
        self.coarse_positions = PositionEmbedding(config.coarse.width)
        self.coarse = config.coarse.build()
        self.split = nn.Linear(config.coarse.width, config.fine.width * config.merge**2)
        self.fine_positions = PositionEmbedding(config.fine.width)
        self.fine = config.fine.build()
        self.leave = nn.Linear(config.fine.width, config.channels * config.patch**2)

    @property
    def last_weight(self) -> Tensor:
        return self.leave.weight

    def forward(self, latent: Float[Tensor, "b k h w"], layout: Layout) -> Float[Tensor, "b c H W"]:
        config, h = self.config, layout.sizes[-1][0]
        x = self.enter(rearrange(latent, "b k h w -> b (h w) k"))
        x = self.split(run(self.coarse, x, self.coarse_positions, layout, 1))
        x = rearrange(x, "b (h w) (m n d) -> b (h m w n) d", h=h, m=config.merge, n=config.merge)
        x = self.leave(run(self.fine, x, self.fine_positions, layout, config.merge))
        return rearrange(x, "b (h w) (c p q) -> b c (h p) (w q)", h=h * config.merge, p=config.patch, q=config.patch)


def run(stack: nn.Module, vectors: Tensor, embedding: PositionEmbedding, layout: Layout, merge: int) -> Tensor:
    """The hidden vectors of the patches of a picture, with full attention between them."""
    positions = patch_positions(layout, merge, vectors.device)
    assert layout.frame is not None
    vectors = vectors + embedding(positions, layout.frame)
    return stack(Stream(vectors, positions.expand(len(vectors), -1, -1)))
