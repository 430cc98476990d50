"""The denoiser: a transformer over noised patches, conditioned on tokens, that predicts the clean picture.

Clean patches as what is predicted: Li and He 2025 (Back to Basics: Let Denoising Generative Models Denoise). A level of
its own for every patch: Ruhe et al. 2024. The level to which a step leads is told too, so that one network takes few
long steps or many short ones: Frans et al. 2024 (One Step Diffusion via Shortcut Models).
"""

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kiloword.decoders.patches import Patches
from kiloword.tokens import Layout, TokenSpace, Vector
from kiloword.tokens.space import values_of
from kiloword.transformer import StackConfig, Stream

# Axes: b pictures, n tokens, t patches, k bands, d coefficients of a patch, v width of the guide, w width of patches,
# g numbers that guide a patch, c channels, H W pixels of a sketch.

WAVES = 8  # frequencies of the level's embedding, for each band


@dataclass(frozen=True)
class DenoiserConfig:
    """`guide` reads the tokens, once a picture; `stack` works on patches of `patch` pixels, at every step.

    A token of the finest grid covers `stride` pixels of what its tokenizer takes, and `scale` times as many here. With
    a `sketch`, every patch also sees what the tokenizer's own network has drawn there (Ho et al. 2021, cascaded
    diffusion), and what it predicts is the difference to that. Pure noise then lies around the sketch; `spread` is its
    standard deviation in each band of a patch's coefficients, or () for 1 in all.
    """

    space: TokenSpace
    guide: StackConfig
    stack: StackConfig
    stride: int
    scale: int = 2
    patch: int = 8
    channels: int = 4
    sketch: bool = False
    spread: tuple[float, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "spread", tuple(self.spread))
        if self.scale not in (1, 2, 4):
            raise ValueError(f"a decoder draws at 1, 2 or 4 times its tokenizer's resolution, got {self.scale}")
        if self.stride * self.scale % self.patch:
            covered = self.stride * self.scale
            legal = [2**k for k in range(covered.bit_length()) if covered % 2**k == 0]
            raise ValueError(
                f"a token covers {covered} pixels, which patches of {self.patch} do not divide: choose {legal}"
            )
        if self.spread and (len(self.spread) != self.patch.bit_length() or min(self.spread) <= 0):
            bands = self.patch.bit_length()
            raise ValueError(f"noise has a spread above 0 in each of {bands} bands of a patch, got {self.spread}")

    @property
    def split(self) -> int:
        """Patches a side that a token of the finest grid covers."""
        return self.stride * self.scale // self.patch

    def build(self) -> "Denoiser":
        return Denoiser(self)


class TokenEntrance(nn.Module):
    """Embeddings of tokens of any space, summed over their factors; one learned vector for unknown tokens."""

    offset: Tensor

    def __init__(self, space: TokenSpace, width: int):
        super().__init__()
        self.space = space
        self.unknown = nn.Parameter(torch.randn(width) * 0.02)
        if isinstance(space, Vector):
            self.vectors = nn.Linear(space.dim, width)
            return
        sizes = values_of(space).reshape(-1)
        self.vectors = nn.Embedding(int(sizes.sum()), width)
        nn.init.normal_(self.vectors.weight, std=len(sizes) ** -0.5)
        self.register_buffer("offset", sizes.cumsum(0) - sizes, persistent=False)

    def forward(self, tokens: Tensor, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b n v"]:
        if isinstance(self.space, Vector):
            vectors = self.vectors(tokens)
        else:
            factors = tokens.masked_fill(~known.view(*known.shape, *(1,) * (tokens.ndim - 2)), 0)
            vectors = self.vectors(factors.reshape(*known.shape, -1) + self.offset).sum(2)
        return torch.where(known[..., None], vectors, self.unknown.to(vectors.dtype))


class Denoiser(nn.Module):
    """From tokens to a guide, and from noised patches and the guide to clean patches."""

    spread: Tensor

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        self.config = config
        self.patches = Patches(config.patch, config.channels)
        v, w, d = config.guide.width, config.stack.width, self.patches.dim
        self.tokens = TokenEntrance(config.space, v)
        self.guide_stack = config.guide.build()
        self.guide_output = nn.Linear(v, config.split**2 * w)
        self.sketch = None
        if config.sketch:
            self.sketch = nn.Linear(d, w)
            nn.init.normal_(self.sketch.weight, std=0.02)
            nn.init.zeros_(self.sketch.bias)
        spread = torch.tensor(config.spread or (1.0,) * self.patches.bands)
        self.register_buffer("spread", self.patches.spread(spread), persistent=False)
        self.enter = nn.Linear(d, w)
        self.times = nn.Sequential(nn.Linear(2 * 2 * WAVES * self.patches.bands, w), nn.SiLU(), nn.Linear(w, w))
        self.stack = config.stack.build()
        self.leave = nn.Linear(w, d)
        nn.init.zeros_(self.leave.bias)
        nn.init.normal_(self.leave.weight, std=0.1 * w**-0.5)

    def guide(
        self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"], sketch: Float[Tensor, "b c H W"] | None = None
    ) -> Float[Tensor, "b t g"]:
        """The conditioning vector of every patch [w], and, if this denoiser works from a sketch, that patch of it
        [d]."""
        positions = torch.cat([torch.zeros(layout.count, 1), layout.positions()], dim=1).to(known.device)
        vectors = self.tokens(tokens, known)
        hidden = self.guide_stack(Stream(vectors, positions.expand(len(vectors), -1, -1)))[:, layout.part(-1)]
        m, (h, w) = self.config.split, layout.sizes[-1]
        guide = rearrange(self.guide_output(hidden), "b (h w) (m n d) -> b (h m w n) d", h=h, w=w, m=m, n=m)
        if self.sketch is None:
            return guide
        if sketch is None:
            raise ValueError("this denoiser works from a sketch, the tokenizer's own picture, and got none")
        enlarged = interpolate(sketch, scale_factor=self.config.scale, mode="bilinear", antialias=False)
        drawn = self.patches.split(enlarged)
        return torch.cat([guide + self.sketch(drawn), drawn.to(guide.dtype)], dim=-1)

    def grid(self, layout: Layout) -> tuple[int, int]:
        """Rows and columns of patches."""
        h, w = layout.sizes[-1]
        return h * self.config.split, w * self.config.split

    def pure(self, noise: Float[Tensor, "b t d"], guide: Float[Tensor, "b t g"]) -> Float[Tensor, "b t d"]:
        """The initial patches: standard normal noise times the spread, around the sketch if there is one."""
        return noise * self.spread + self._parts(guide)[1]

    def _parts(self, guide: Float[Tensor, "b t g"]) -> tuple[Float[Tensor, "b t w"], Tensor | float]:
        """The two parts of a guide: the conditioning vectors, and the patches of the sketch (0 without one)."""
        width = self.config.stack.width
        return guide[..., :width], guide[..., width:] if self.config.sketch else 0.0

    def forward(
        self, noised: Float[Tensor, "b t d"], level: Float[Tensor, "b #t k"], to: Float[Tensor, "b #t k"],
        guide: Float[Tensor, "b t g"], place: Float[Tensor, "b t 2"], seen: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "b t d"]:  # fmt: skip
        """The predicted clean patches for a step from `level` to `to` (equal: for an infinitesimal one). Levels are
        each patch's own, or one for all.

        `place` are their rows and columns. Patches that are not `seen` (None: all are) are pure noise that has not
        begun: no other patch looks at them. What enters is scaled to the best linear guess at a clean patch that is as
        wide as the noise, so that pure noise does not enter at all (Karras et al. 2022, section 5, on such scaling).
        """
        guide, drawn = self._parts(guide)
        known = 1 - self.patches.spread(level)
        guess = (noised - drawn) / self.spread * known / (known.square() + (1 - known).square())
        x = self.enter(guess) + guide
        times = self.times(torch.cat([waves(level), waves(level - to)], dim=-1))
        positions = torch.cat([torch.zeros_like(place), place], dim=-1)
        stream = Stream(x, positions, modulation=times + guide)
        if seen is not None:
            still = torch.zeros(seen.shape, dtype=torch.long, device=seen.device)
            stream = replace(stream, span=still, step=still, causal=still.bool(), present=seen)
        return self.leave(self.stack(stream)).float() * self.spread + drawn


def places(rows: int, columns: int) -> Float[Tensor, "t 2"]:
    """Row and column of every patch."""
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()


def waves(level: Float[Tensor, "b t k"]) -> Float[Tensor, "b t f"]:
    """Cosines and sines of levels, at frequencies from half a turn to 64 turns over the range from 0 to 1."""
    turns = level[..., None] * (torch.pi * 2.0 ** torch.arange(WAVES, device=level.device))
    return torch.cat([turns.cos(), turns.sin()], dim=-1).flatten(-2)
