"""Encoder and decoder networks made of residual convolutions, halving the grid level by level.

Esser et al. 2021 (taming transformers: VQGAN) and Rombach et al. 2022 (latent diffusion); used by VAR, LlamaGen, MAR,
Chameleon and Infinity with other sizes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise, takewhile, zip_longest

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, channels_last, nn
from torch.nn.functional import conv_transpose2d, pad, scaled_dot_product_attention, silu

from kiloword.tokenizers.network import Decoder, Encoder
from kiloword.tokens import Layout

# Axes: b pictures, c d channels, H W pixels, z channels of the trunk's latent, k channels of the quantizer's, h w grid.

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class CNNConfig:
    """A level has `width` times its multiplier channels; levels are counted from the pixels.

    `blocks` residual blocks a level in an encoder, one more in a decoder; each block of a level in `attention` and the
    first `middle` of the two blocks at the coarsest grid are followed by attention.
    """

    width: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 2
    attention: tuple[int, ...] = ()
    middle: int = 1
    groups: tuple[int, ...] = (32,)  # of the group norms: the first that divides the channels
    downs: int | None = None  # halvings, after the first levels; None: after each level but the last
    z: int = 256
    bridge: int = 1  # kernel of the convolution between trunk and quantizer; 0: none
    channels: int = 3

    def __post_init__(self):
        for name in ("multipliers", "attention", "groups"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        positive = (self.width, self.blocks, self.z, self.channels, *self.multipliers, *self.groups)
        if not self.multipliers or not self.groups or min(positive) < 1:
            raise ValueError(f"width, blocks, z, channels, multipliers and groups start at 1: {self}")
        if not set(self.attention) <= set(range(len(self.multipliers))):
            raise ValueError(f"attention in levels {self.attention}, but there are {len(self.multipliers)} from 0 on")
        if not 0 <= self.halvings < len(self.multipliers):
            raise ValueError(f"{len(self.multipliers)} levels can be halved 0 to {len(self.multipliers) - 1} times, "
                             f"not {self.halvings}")  # fmt: skip
        if self.middle not in (0, 1, 2):
            raise ValueError(f"0, 1 or 2 blocks in the middle can be followed by attention, not {self.middle}")
        if self.bridge != 0 and (self.bridge < 0 or self.bridge % 2 == 0):
            raise ValueError(f"the bridge's kernel is odd, or 0 for no bridge, got {self.bridge}")
        for width in (self.width, *self.widths):
            self.groups_of(width)

    @property
    def halvings(self) -> int:
        return len(self.multipliers) - 1 if self.downs is None else self.downs

    @property
    def stride(self) -> int:
        """Pixels a side that one token covers."""
        return 2**self.halvings

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    def groups_of(self, channels: int) -> int:
        """Into how many groups a norm divides that many channels."""
        for groups in self.groups:
            if channels % groups == 0:
                return groups
        raise ValueError(f"{channels} channels cannot be normalised in groups of any of {self.groups}")

    def build_encoder(self, latent_channels: int) -> "CNNEncoder":
        return CNNEncoder(self, latent_channels)

    def build_decoder(self, latent_channels: int) -> "CNNDecoder":
        return CNNDecoder(self, latent_channels)


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, config: CNNConfig, before: int, after: int):
        super().__init__()
        self.norm1 = norm(config, before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.norm2 = norm(config, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        y = self.conv1(swish(self.norm1(x)))
        y = self.conv2(swish(self.norm2(y)))
        return y.add_(self.shortcut(x))


class Attention(nn.Module):
    """Full self-attention over the cells of the grid, one head (Wang et al. 2018, non-local networks)."""

    def __init__(self, config: CNNConfig, width: int):
        super().__init__()
        self.norm = norm(config, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        q, k, v = rearrange(self.qkv(self.norm(x)), "b (three c) h w -> three b 1 (h w) c", three=3)
        attended = scaled_dot_product_attention(q, k, v)
        return x + self.out(rearrange(attended, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Halve(nn.Module):
    """A 3x3 convolution of stride 2, padded with zeros on the right and below only."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c s t"]:
        return self.conv(pad(x, (0, 1, 0, 1)))


class Double(nn.Module):
    """Every cell repeated 2x2 times, then a 3x3 convolution.

    Both in one are a transposed convolution of stride 2, whose kernel is that of 3x3 spread over 2x2 cells: 16
    products instead of 36.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        kernel = self.conv.weight.transpose(0, 1).flip(2, 3)
        kernel = pad(kernel, (0, 0, 0, 1)) + pad(kernel, (0, 0, 1, 0))
        kernel = pad(kernel, (0, 1)) + pad(kernel, (1, 0))
        return conv_transpose2d(x, kernel, self.conv.bias, stride=2, padding=1)


class Level(nn.Module):
    """Blocks, the first of them followed by attention, and at last a change of the grid."""

    def __init__(self, config: CNNConfig, widths: Sequence[int], attentions: int, resample: nn.Module | None = None):
        super().__init__()
        self.blocks = nn.ModuleList(Block(config, before, after) for before, after in pairwise(widths))
        self.attentions = nn.ModuleList(Attention(config, width) for width in widths[1 : attentions + 1])
        self.resample = resample or nn.Identity()

    @property
    def steps(self) -> list[nn.Module]:
        pairs = zip_longest(self.blocks, self.attentions)
        return [*(step for pair in pairs for step in pair if step is not None), self.resample]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d s t"]:
        return reduce(lambda value, step: step(value), self.steps, x)


class CNNEncoder(Encoder):
    """Pixels to latents; the levels from fine to coarse."""

    def __init__(self, config: CNNConfig, latent_channels: int):
        super().__init__()
        widths, last = (config.width, *config.widths), config.widths[-1]
        self.enter = nn.Conv2d(config.channels, config.width, 3, padding=1)
        self.levels = nn.ModuleList()
        for i, (before, after) in enumerate(pairwise(widths)):
            attentions = config.blocks if i in config.attention else 0
            resample = Halve(after) if i < config.halvings else None
            self.levels.append(Level(config, [before, *[after] * config.blocks], attentions, resample))
        self.middle = Level(config, [last] * 3, config.middle)
        self.norm = norm(config, last)
        self.leave = nn.Conv2d(last, config.z, 3, padding=1)
        self.bridge = bridge(config, config.z, latent_channels)

    @property
    def steps(self) -> list[Step]:
        return [self.enter, *inside([*self.levels, self.middle]), self.finish, self.bridge]

    @property
    def wide(self) -> int:
        """Steps from the first attention on."""
        narrow = takewhile(lambda step: not isinstance(step, Attention), self.steps)
        return len(self.steps) - len([*narrow])

    def forward(self, pixels: Float[Tensor, "b c H W"], layout: Layout) -> Float[Tensor, "b k h w"]:
        return self.bridge(self.trunk(pixels))

    def trunk(self, pixels: Float[Tensor, "b c H W"]) -> Float[Tensor, "b z h w"]:
        """All before the bridge."""
        return in_sequence(self.steps[:-1], pixels)

    def finish(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b z h w"]:
        return self.leave(swish(self.norm(x)))


class CNNDecoder(Decoder):
    """Latents to pixels; the levels from coarse to fine, as they are run."""

    def __init__(self, config: CNNConfig, latent_channels: int):
        super().__init__()
        widths, last = config.widths, config.widths[-1]
        self.bridge = bridge(config, latent_channels, config.z)
        self.enter = nn.Conv2d(config.z, last, 3, padding=1)
        self.middle = Level(config, [last] * 3, config.middle)
        self.levels = nn.ModuleList()
        for i, before, after in reversed([*zip(range(len(widths)), [*widths[1:], last], widths, strict=True)]):
            attentions = config.blocks + 1 if i in config.attention else 0
            resample = Double(after) if 1 <= i <= config.halvings else None
            self.levels.append(Level(config, [before, *[after] * (config.blocks + 1)], attentions, resample))
        self.norm = norm(config, widths[0])
        self.leave = nn.Conv2d(widths[0], config.channels, 3, padding=1)

    @property
    def steps(self) -> list[Step]:
        return [self.bridge, self.enter, *inside([self.middle, *self.levels]), self.finish]

    @property
    def wide(self) -> int:
        """Steps up to the last attention."""
        narrow = takewhile(lambda step: not isinstance(step, Attention), reversed(self.steps))
        return len(self.steps) - len([*narrow])

    @property
    def last_weight(self) -> Tensor:
        return self.leave.weight

    def forward(self, latent: Float[Tensor, "b k h w"], layout: Layout) -> Float[Tensor, "b c H W"]:
        return self.trunk(self.bridge(latent))

    def trunk(self, latent: Float[Tensor, "b z h w"]) -> Float[Tensor, "b c H W"]:
        """All after the bridge."""
        return in_sequence(self.steps[1:], latent)

    def finish(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c h w"]:
        return self.leave(swish(self.norm(x)))


def inside(levels: Sequence[nn.Module]) -> list[nn.Module]:
    """The steps of some levels."""
    return [step for level in levels if isinstance(level, Level) for step in level.steps]


def in_sequence(steps: Sequence[Step], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d s t"]:
    """All steps in sequence, with channels last in memory, where convolutions and attention are quicker."""
    x = x.contiguous(memory_format=channels_last)
    for step in steps:
        x = step(x)
    return x.contiguous()


def swish(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """SiLU of a norm's output, in place where no gradient needs it: allocation costs more than the arithmetic."""
    return silu(x, inplace=not torch.is_grad_enabled())


def norm(config: CNNConfig, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(config.groups_of(channels), channels, eps=1e-6)


def bridge(config: CNNConfig, before: int, after: int) -> nn.Module:
    """The convolution between trunk and quantizer. Raises ValueError if there is none and their channels differ."""
    if config.bridge:
        return nn.Conv2d(before, after, config.bridge, padding=config.bridge // 2)
    if before != after:
        raise ValueError(
            f"without a bridge {config.z} channels of the network meet the quantizer's {before + after - config.z}"
        )
    return nn.Identity()
