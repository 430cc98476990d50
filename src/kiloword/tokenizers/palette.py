"""Palette: a token is the nearest of a few hundred colours, so that the pixels themselves are the tokens.

Chen et al. 2020 (Image GPT), section 2: k-means over pixels (Lloyd 1982), here begun as Arthur and Vassilvitskii 2007
(k-means++) propose.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kiloword.noise import Noise, Seeded
from kiloword.tokenizers.quantizer import UNKNOWN, Quantized, Quantizer, check_latent
from kiloword.tokens import Categorical, Layout

# Axes: b pictures, n tokens, c channels of a colour, h w grid, p pixels, v colours.


@dataclass(frozen=True)
class PaletteConfig:
    """`size` colours of `channels` numbers in [-1, 1]."""

    size: int = 512
    channels: int = 3

    def __post_init__(self):
        if min(self.size, self.channels) < 1:
            raise ValueError(f"a palette has at least one colour of one channel, got {self.size} of {self.channels}")

    def build(self) -> "Palette":
        return Palette(self)


class Palette(nn.Module, Quantizer):
    """The colours are data, not weights: `fit` finds them, or they come with a checkpoint."""

    fits_at_once = True
    colours: Tensor

    def __init__(self, config: PaletteConfig):
        super().__init__()
        self.config = config
        self.space = Categorical(config.size)
        self.channels = self.encoder_channels = config.channels
        spread = torch.linspace(-1, 1, config.size)[:, None].expand(-1, config.channels)
        self.register_buffer("colours", spread.clone())

    def quantize(self, latent: Float[Tensor, "b c h w"], layout: Layout, noise: Noise | None = None) -> Quantized:
        check_latent(latent, self.channels, f"a palette of {self.config.size} colours")
        pixels = rearrange(latent, "b c h w -> (b h w) c")
        ids = nearest_colour(pixels, self.colours).view(len(latent), -1)
        found = self.lookup(ids, layout)
        return Quantized(target=ids, shown=ids, latent=latent + (found - latent).detach())

    def lookup(self, tokens: Tensor, layout: Layout) -> Float[Tensor, "b c h w"]:
        """Colours of ids, or mean colours under distributions."""
        if tokens.is_floating_point():
            values = tokens @ self.colours
        else:
            values = self.colours[tokens.clamp(min=0)] * (tokens != UNKNOWN)[..., None]
        return rearrange(values, "b (h w) c -> b c h w", h=layout.sizes[-1][0])

    @torch.no_grad()
    def fit(self, pixels: Float[Tensor, "p c"], rounds: int = 20, seed: int = 0) -> None:
        """Set the colours to the k-means centres of some pixels (a few hundred times `size` of them are enough).

        Raises ValueError if there are fewer pixels than colours.
        """
        self.colours.copy_(k_means(pixels.to(self.colours), self.config.size, rounds, Seeded([seed])))


def nearest_colour(pixels: Float[Tensor, "p c"], colours: Float[Tensor, "v c"]) -> Tensor:
    """Ids [p] of the nearest colours by squared distance; a few thousand pixels at a time."""
    length = colours.square().sum(1)
    return torch.cat([(length - 2 * part @ colours.t()).argmin(1) for part in pixels.split(16384)])


def k_means(pixels: Float[Tensor, "p c"], size: int, rounds: int, noise: Noise) -> Float[Tensor, "v c"]:
    """Centres of `size` clusters: k-means++ starts, then `rounds` of Lloyd's steps; an empty cluster stays in place."""
    if len(pixels) < size:
        raise ValueError(f"a palette of {size} colours needs at least as many pixels, got {len(pixels)}")
    one = torch.zeros(1, dtype=torch.long)
    uniform = noise.uniform((size,), one)[0].to(pixels.device)
    centres = pixels[(uniform[:1] * len(pixels)).long()]
    distance = (pixels - centres[0]).square().sum(1)
    for share in uniform[1:]:
        total = distance.double().cumsum(0)
        chosen = pixels[torch.searchsorted(total, share * total[-1]).clamp(max=len(pixels) - 1)]
        centres = torch.cat([centres, chosen[None]])
        distance = distance.minimum((pixels - chosen).square().sum(1))
    for _ in range(rounds):
        ids = nearest_colour(pixels, centres)
        sums = torch.zeros_like(centres).index_add_(0, ids, pixels)
        counts = torch.bincount(ids, minlength=size)[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres
