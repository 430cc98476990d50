"""U-Net patches: a convolutional encoder from part-noised latents to tokens, its decoder from tokens to velocities.

Zhou et al. 2024 (Transfusion, section 3.1: U-Net down and up blocks around the transformer); the net is that of
Ronneberger et al. 2015 with the blocks of Ho et al. 2020. A token holds `patch` rows and columns of latents, as
`tokenizers/patched.py` joins them.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from kiloword.tokens import Layout

# Axes: v views, b pictures, r = v b, q tokens, c numbers of a token, w width, h k rows and columns of tokens, d
# channels of the net, e those that leave a block, y x rows and columns of latents at some resolution.


@dataclass(frozen=True)
class UNetPatchesConfig:
    """`channels` of the net; sides are halved until one of the `patch` latents a side of a token is left."""

    patch: int = 2
    channels: int = 64

    def __post_init__(self):
        if self.patch < 2 or self.patch & (self.patch - 1):
            raise ValueError(f"a U-Net halves patches: their side is a power of 2 from 2 on, got {self.patch}")
        if self.channels < 1 or self.channels % min(8, self.channels):
            raise ValueError(f"the channels of a U-Net are a multiple of 8, or fewer than 8, got {self.channels}")

    def build(self, dim: int, width: int) -> "UNetPatches":
        if dim % self.patch**2:
            raise ValueError(f"{dim} numbers of a token are no patch of {self.patch} x {self.patch} latents")
        return UNetPatches(self, dim, width)


class Block(nn.Module):
    """A residual block of two convolutions, with the level's embedding added between them."""

    def __init__(self, inside: int, outside: int, width: int):
        super().__init__()
        self.before, self.after = (nn.GroupNorm(min(8, d) if d % 8 == 0 else 1, d) for d in (inside, outside))
        self.first = nn.Conv2d(inside, outside, 3, padding=1)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)
        self.level = nn.Linear(width, outside)
        self.past = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Float[Tensor, "r d y x"], level: Float[Tensor, "r w h k"]) -> Float[Tensor, "r e y x"]:
        shift = self.level(silu(level).movedim(1, -1)).movedim(-1, 1)
        y = self.first(silu(self.before(x))) + interpolate(shift, size=x.shape[-2:], mode="nearest")
        return self.past(x) + self.second(silu(self.after(y)))


class UNetPatches(nn.Module):
    """A U-Net around the transformer, with skip connections at every resolution."""

    whole = True

    def __init__(self, config: UNetPatchesConfig, dim: int, width: int):
        super().__init__()
        self.patch, d = config.patch, config.channels
        halvings = config.patch.bit_length() - 1
        self.first = nn.Conv2d(dim // config.patch**2, d, 3, padding=1)
        self.down = nn.ModuleList(Block(d, d, width) for _ in range(halvings))
        self.shrink = nn.ModuleList(nn.Conv2d(d, d, 3, stride=2, padding=1) for _ in range(halvings))
        self.into = nn.Linear(d, width)
        self.out_of = nn.Linear(width, d)
        self.grow = nn.ModuleList(nn.Conv2d(d, d, 3, padding=1) for _ in range(halvings))
        self.up = nn.ModuleList(Block(2 * d, d, width) for _ in range(halvings))
        self.last = nn.Conv2d(2 * d, dim // config.patch**2, 3, padding=1)
        nn.init.normal_(self.last.weight, std=0.1 * (2 * d * 9) ** -0.5)

    def enter(
        self, tokens: Float[Tensor, "b q c"], level: Float[Tensor, "b q w"], layout: Layout
    ) -> tuple[Float[Tensor, "b q w"], list[Float[Tensor, "b d _ _"]]]:
        """Raises ValueError unless all tokens of one grid are there."""
        if len(layout.sizes) != 1 or tokens.shape[1] != layout.count:
            raise ValueError(f"a U-Net takes one whole grid: {layout.sizes}, got {tokens.shape[1]} tokens")
        (h, w), p = layout.sizes[0], self.patch
        levels = rearrange(level, "b (h k) w -> b w h k", h=h)
        x = self.first(rearrange(tokens, "b (h k) (c p q) -> b c (h p) (k q)", h=h, k=w, p=p, q=p))
        skips = [x]
        for block, shrink in zip(self.down, self.shrink, strict=True):
            x = block(x, levels)
            skips.append(x)
            x = shrink(x)
        return self.into(rearrange(x, "b d h k -> b (h k) d")), skips

    def leave(
        self, hidden: Float[Tensor, "v b q w"], skips: list[Float[Tensor, "b d _ _"]], level: Float[Tensor, "b q w"],
        layout: Layout,
    ) -> Float[Tensor, "v b q c"]:  # fmt: skip
        """All views have the same input, so they share the skip connections."""
        v, h, p = len(hidden), layout.sizes[0][0], self.patch
        levels = rearrange(level, "b (h k) w -> b w h k", h=h).repeat(v, 1, 1, 1)
        x = rearrange(self.out_of(hidden), "v b (h k) d -> (v b) d h k", h=h)
        for block, grow, kept in zip(self.up, self.grow, reversed(skips[1:]), strict=True):
            x = grow(interpolate(x, scale_factor=2, mode="nearest"))
            x = block(torch.cat([x, kept.repeat(v, 1, 1, 1)], dim=1), levels)
        x = self.last(torch.cat([silu(x), skips[0].repeat(v, 1, 1, 1)], dim=1))
        return rearrange(x, "(v b) c (h p) (k q) -> v b (h k) (c p q)", v=v, p=p, q=p)
