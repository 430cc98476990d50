"""ViTamin: convolutions while the grid is fine, a transformer once it is coarse; and a decoder that mirrors it.

Chen et al. 2023 (ViTamin) for the encoder, Ma et al. 2025 (UniTok) for the decoder.
"""

from dataclasses import dataclass
from itertools import pairwise

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kiloword.tokenizers.mbconv import ChannelNorm, Enlarge, doubling, halving
from kiloword.tokenizers.network import Decoder, Encoder
from kiloword.tokens import Layout
from kiloword.transformer import Stack, StackConfig, Stream

# Axes: b pictures, c channels, H W pixels, k latent channels, h w grid, n = h w grid positions.


@dataclass(frozen=True)
class ViTaminConfig:
    """Stages of convolutions with `widths`, from the pixels on, then `stack`, whose width is that of the latents.

    `blocks` of each stage in the encoder, `up_blocks` in the decoder, which runs through the stages backwards.
    """

    stack: StackConfig
    stem: int = 160
    widths: tuple[int, ...] = (160, 320)
    blocks: tuple[int, ...] = (2, 4)
    up_blocks: tuple[int, ...] = (4, 2)
    channels: int = 3

    def __post_init__(self):
        for name in ("widths", "blocks", "up_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.widths) == len(self.blocks) == len(self.up_blocks) > 0:
            raise ValueError(
                f"every stage has a width, blocks and blocks up: got {self.widths}, {self.blocks}, {self.up_blocks}"
            )
        if min(self.stem, self.channels, *self.widths, *self.blocks, *self.up_blocks) < 1:
            raise ValueError(
                f"stem, widths, blocks and channels must be at least 1: "
                f"{self.stem, self.widths, self.blocks, self.up_blocks, self.channels}"
            )

    @property
    def stride(self) -> int:
        """Pixels a side that one token covers: the stem, each stage and the step to the transformer halve the grid."""
        return 2 ** (len(self.widths) + 2)

    def build_encoder(self, latent_channels: int) -> "ViTaminEncoder":
        self._agree(latent_channels)
        return ViTaminEncoder(self)

    def build_decoder(self, latent_channels: int) -> "ViTaminDecoder":
        self._agree(latent_channels)
        return ViTaminDecoder(self)

    def _agree(self, latent_channels: int) -> None:
        if latent_channels != self.stack.width:
            raise ValueError(
                f"a ViTamin of width {self.stack.width} has latents of as many channels, not of {latent_channels}: "
                "a factorisation around it changes them"
            )


class ViTaminEncoder(Encoder):
    """Pixels to vectors. It has no position embedding: positions show at the borders of the convolutions."""

    def __init__(self, config: ViTaminConfig):
        super().__init__()
        stem, widths = config.stem, config.widths
        self.stem = nn.Sequential(
            nn.Conv2d(config.channels, stem, 3, 2, padding=1), ChannelNorm(stem), nn.GELU(),
            nn.Conv2d(stem, stem, 3, padding=1),
        )  # fmt: skip
        sizes = zip(pairwise((stem, *widths)), config.blocks, strict=True)
        self.stages = nn.ModuleList(halving(*pair, count) for pair, count in sizes)
        self.pool = nn.Sequential(
            ChannelNorm(widths[-1]), nn.Conv2d(widths[-1], config.stack.width, 3, 2, padding=1)
        )  # fmt: skip
        self.stack = config.stack.build()

    def patches(self, pixels: Float[Tensor, "b c H W"]) -> Float[Tensor, "b k h w"]:
        """The output of the convolutions."""
        x = self.stem(pixels)
        for stage in self.stages:
            x = stage(x)
        return self.pool(x)

    def forward(self, pixels: Float[Tensor, "b c H W"], layout: Layout) -> Float[Tensor, "b k h w"]:
        return run(self.stack, self.patches(pixels), layout)


class ViTaminDecoder(Decoder):
    """Vectors to pixels: a transformer, then convolutions while the grid grows."""

    def __init__(self, config: ViTaminConfig):
        super().__init__()
        widths = config.widths[::-1]
        self.stack = config.stack.build()
        self.enter = Enlarge(config.stack.width, widths[0])
        sizes = zip(pairwise((widths[0], *widths)), config.up_blocks, strict=True)
        self.stages = nn.ModuleList(doubling(*pair, count) for pair, count in sizes)
        self.leave = nn.Sequential(
            Enlarge(widths[-1], widths[-1]), ChannelNorm(widths[-1]), nn.GELU(),
            nn.Conv2d(widths[-1], config.channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, latent: Float[Tensor, "b k h w"], layout: Layout) -> Float[Tensor, "b c H W"]:
        x = self.enter(run(self.stack, latent, layout))
        for stage in self.stages:
            x = stage(x)
        return self.leave(x)


def run(stack: Stack, grid: Float[Tensor, "b k h w"], layout: Layout) -> Float[Tensor, "b k h w"]:
    """The hidden vectors of the cells of a grid, with full attention between them."""
    (b, _, h, w), (height, _) = grid.shape, layout.sizes[-1]
    assert h == height, f"a grid of {h} rows, a layout of {height}"
    positions = grid.new_zeros(b, h * w, 4)
    hidden = stack(Stream(rearrange(grid, "b k h w -> b (h w) k"), positions))
    return rearrange(hidden, "b (h w) k -> b k h w", h=h)
