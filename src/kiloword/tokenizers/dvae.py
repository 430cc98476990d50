"""The networks of the dVAE: convolutional residual blocks without norms, max pooling down, nearest neighbours up.

Ramesh et al. 2021 (DALL-E, Zero-Shot Text-to-Image Generation), appendix A.1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, relu

from kiloword.tokenizers.logit_laplace import map_pixels, unmap_pixels
from kiloword.tokenizers.network import Decoder, Encoder
from kiloword.tokens import Layout

# Axes: b pictures, c channels, H W pixels, k latent channels, h w grid, i o channels into and out of a block.


@dataclass(frozen=True)
class DVAEConfig:
    """`groups` of `blocks` each; the group at full size is `width` wide, every smaller one twice the one before."""

    width: int = 256
    blocks: int = 2
    groups: int = 4
    channels: int = 3

    def __post_init__(self):
        if min(self.width, self.blocks, self.groups, self.channels) < 1:
            raise ValueError(
                f"width, blocks, groups and channels must be at least 1: "
                f"{self.width, self.blocks, self.groups, self.channels}"
            )
        if self.width % 4:
            raise ValueError(f"the width must be divisible by 4 for the blocks' narrow middles, got {self.width}")

    @property
    def stride(self) -> int:
        """Pixels a side that one token covers."""
        return 2 ** (self.groups - 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the groups, from full size down."""
        return tuple(self.width * 2**group for group in range(self.groups))

    @property
    def gain(self) -> float:
        """What a block's convolutions are multiplied by: small, so that a deep stack begins as nearly the identity."""
        return 1 / (self.groups * self.blocks) ** 2

    def build_encoder(self, latent_channels: int) -> "DVAEEncoder":
        return DVAEEncoder(self, latent_channels)

    def build_decoder(self, latent_channels: int) -> "DVAEDecoder":
        return DVAEDecoder(self, latent_channels)


class DVAEEncoder(Encoder):
    """Pixels to logits of the codes."""

    kernels = (3, 3, 3, 1)

    def __init__(self, config: DVAEConfig, latent_channels: int):
        super().__init__()
        self.enter = conv(config.channels, config.width, 7)
        self.groups = groups(config.width, config.widths, self.kernels, config)
        self.leave = conv(config.widths[-1], latent_channels, 1)

    def forward(self, pixels: Float[Tensor, "b c H W"], layout: Layout) -> Float[Tensor, "b k h w"]:
        x = self.enter(map_pixels(pixels))
        for number, group in enumerate(self.groups):
            x = group(max_pool2d(x, 2) if number else x)
        return self.leave(relu(x))


class DVAEDecoder(Decoder):
    """Latents to pixels; the convolution that comes first in the authors' decoder is the quantizer's codebook here."""

    kernels = (1, 3, 3, 3)

    def __init__(self, config: DVAEConfig, latent_channels: int):
        super().__init__()
        self.groups = groups(latent_channels, config.widths[::-1], self.kernels, config)
        self.leave = conv(config.width, 2 * config.channels, 1)

    @property
    def last_weight(self) -> Tensor:
        return self.leave.weight

    def forward(self, latent: Float[Tensor, "b k h w"], layout: Layout) -> Float[Tensor, "b c H W"]:
        return unmap_pixels(torch.sigmoid(self.distribution(latent)[0]))

    def distribution(
        self, latent: Float[Tensor, "b k h w"]
    ) -> tuple[Float[Tensor, "b c H W"], Float[Tensor, "b c H W"]]:
        """Mean and log scale of the logits of the mapped pixels, for `logit_laplace`."""
        x = latent
        for number, group in enumerate(self.groups):
            x = group(interpolate(x, scale_factor=2, mode="nearest") if number else x)
        mean, log_scale = self.leave(relu(x)).chunk(2, dim=1)
        return mean, log_scale


class Residual(nn.Module):
    """Four convolutions with a narrow middle, each after a ReLU, beside a shortcut."""

    def __init__(self, inside: int, outside: int, kernels: tuple[int, ...], gain: float):
        super().__init__()
        narrow = outside // 4
        widths = (inside, *(narrow,) * (len(kernels) - 1), outside)
        self.gain = gain
        self.skip = conv(inside, outside, 1) if inside != outside else nn.Identity()
        self.convs = nn.ModuleList(
            conv(i, o, k) for i, o, k in zip(widths[:-1], widths[1:], kernels, strict=True)
        )  # fmt: skip

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        change = x
        for convolution in self.convs:
            change = convolution(relu(change))
        return self.skip(x) + self.gain * change


def groups(inside: int, widths: tuple[int, ...], kernels: tuple[int, ...], config: DVAEConfig) -> nn.ModuleList:
    """Groups of residual blocks; the first block of each goes from the width before to the group's."""
    found = []
    for width in widths:
        befores = (inside, *(width,) * (config.blocks - 1))
        found.append(nn.Sequential(*(Residual(before, width, kernels, config.gain) for before in befores)))
        inside = width
    return nn.ModuleList(found)


def conv(inside: int, outside: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps the picture's size; its weights begin with variance 1 / fan-in."""
    layer = nn.Conv2d(inside, outside, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=(inside * kernel**2) ** -0.5)
    nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
    return layer
