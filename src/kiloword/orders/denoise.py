"""Denoise order: diffusion inside the transformer, all tokens at once or group after group, as ramps of a schedule.

Zhou et al. 2024 (Transfusion) for latents noised inside the transformer; Lee et al. 2023 (groupwise diffusion) and Ruhe
et al. 2024 (rolling diffusion) for groups, see `tokens/ramps.py`; logit-normal levels of Esser et al. 2024, eq. 19.

Network calls: N = ceil(steps (1 + overlap (groups - 1))), one a step. A token is denoised in `steps` of them, and
passed once more, clean, when it is known.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kiloword.noise import Noise, mix
from kiloword.orders.order import Order, fed_itself
from kiloword.tokens import Fed, Layout, Schedule, grouped, ramps

# Axes: b pictures, n tokens, q tokens of them, c numbers of a token.

OVERLAPS = (1.0, 0.5, 0.25)  # that are trained most, beside all others


@dataclass(frozen=True)
class DenoiseConfig:
    """A group takes `steps` steps and begins when the one before has done the share `overlap` of its own: 0 is all at
    once, 1 one after the other.

    So that groups can be chosen after training, the share `grouped` of the training pictures has random groups and
    overlaps; the others are denoised all at once, at levels that are "logit-normal" or "uniform". In the share `kept`
    of them some tokens are known, for inpainting. With `upwards` the last row of the picture comes first.
    """

    steps: int = 50
    groups: int = 1
    overlap: float = 1.0
    grouped: float = 0.35
    levels: str = "logit-normal"
    kept: float = 0.1
    upwards: bool = False

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"a group takes at least 1 step, got {self.steps}")
        if self.groups < 1:
            raise ValueError(f"tokens are drawn in at least 1 group, got {self.groups}")
        if not 0 <= self.overlap <= 1:
            raise ValueError(f"the overlap is from 0 (all groups at once) to 1 (one by one), got {self.overlap:g}")
        if not (0 <= self.grouped <= 1 and 0 <= self.kept <= 1):
            raise ValueError(f"shares of pictures are from 0 to 1, got {self.grouped} grouped and {self.kept} kept")
        if self.levels not in ("logit-normal", "uniform"):
            raise ValueError(f"levels are uniform or logit-normal, got {self.levels!r}")

    def build(self) -> "Denoise":
        return Denoise(self)


class Denoise(Order):
    """A token is fed as it is, part noise; it is predicted at every step of its ramp."""

    gradual = True

    def __init__(self, config: DenoiseConfig = DenoiseConfig()):
        self.config = config

    def raster_rank(self, layout: Layout) -> Int[Tensor, "n"]:
        """The rank of each token in raster order, from the top or from the bottom."""
        if len(layout.sizes) != 1:
            raise ValueError(f"denoise order draws one grid, this layout has {len(layout.sizes)}")
        rank = torch.arange(layout.count)
        return rank.flip(0) if self.config.upwards else rank

    def in_groups(self, groups: int, overlap: float) -> "Denoise":
        return Denoise(replace(self.config, groups=groups, overlap=overlap))

    def schedule(self, layout: Layout, batch: int, steps: int | None, noise: Noise | None) -> Schedule:
        """Ramps of `steps` steps a group. Raises ValueError if the groups do not divide the tokens."""
        rank = grouped(self.raster_rank(layout), self.config.groups)
        return ramps(rank.expand(batch, -1), self.config.overlap, self.config.steps if steps is None else steps)

    def training_schedule(self, layout: Layout, batch: int, noise: Noise | None, done: float = 1.0) -> Schedule:
        """Ramps of one step: for each picture all tokens at once, or in random groups with a random overlap."""
        n = layout.count
        chance, which, overlapping, free = uniforms((4,), batch, noise).T
        legal = torch.tensor([g for g in range(2, n + 1) if n % g == 0] or [1])
        groups = legal[(which * len(legal)).long()]
        overlap = torch.tensor([*OVERLAPS, 0])[(overlapping * (len(OVERLAPS) + 1)).long()]
        overlap = torch.where(overlap > 0, overlap, free)
        rank = torch.div(self.raster_rank(layout) * groups[:, None], n, rounding_mode="floor")
        start = torch.where((chance < self.config.grouped)[:, None], overlap[:, None] * rank, 0.0)
        return Schedule(start, start + 1)

    def training_levels(self, schedule: Schedule, noise: Noise | None) -> Float[Tensor, "b n"]:
        """Levels at a random moment of each picture, which is uniform where it is in groups; some tokens of some
        pictures are known."""
        drawn = uniforms((2 + schedule.start.shape[1],), len(schedule.start), noise)
        moment, keeping, each = drawn[:, :1], drawn[:, 1:2], drawn[:, 2:]
        at_once = schedule.start.amax(1, keepdim=True) == 0
        level = moment if self.config.levels == "uniform" else torch.special.ndtri(moment.clamp(1e-6)).sigmoid()
        last = schedule.stop.amax(1, keepdim=True)
        level = schedule.level(torch.where(at_once, 1 - level, moment * last))
        known = each < keeping / self.config.kept if self.config.kept else torch.zeros_like(level).bool()
        return torch.where((keeping < self.config.kept) & known, 0, level)

    def noised(
        self, tokens: Float[Tensor, "b n c"], level: Float[Tensor, "b n"], noise: Noise | None, loudness: float = 1.0
    ) -> Float[Tensor, "b n c"]:
        """`loudness` is the standard deviation of the noise."""
        if noise is None:
            drawn = torch.randn_like(tokens)
        else:
            drawn = noise.normal(tuple(tokens.shape[1:]), torch.arange(len(tokens))).to(tokens)
        return mix(tokens, loudness * drawn, level[..., None].to(tokens))

    def attention_rank(
        self, schedule: Schedule, layout: Layout, given: Bool[Tensor, "b n"], known: Bool[Tensor, "b n"],
        at_work: Bool[Tensor, "b n"],
    ) -> Int[Tensor, "b n"]:  # fmt: skip
        """Known tokens attend to the known ones before them, tokens at work to all of these and to each other; what has
        not begun is pure noise, and nothing attends to it. So the hidden vectors of known tokens never change."""
        n, index = layout.count, self.raster_rank(layout).to(given.device).expand_as(given)
        rank = torch.where(known, index, torch.full_like(index, n + 1)).masked_fill(at_work, n)
        return torch.where(given, index - n, rank)

    def feed(
        self, shown: Tensor, schedule: Schedule, level: Float[Tensor, "b n"], index: Int[Tensor, "b q"], layout: Layout,
        canvas: Callable | None = None,
    ) -> Fed:  # fmt: skip
        return fed_itself(shown, level, index)


def uniforms(shape: tuple[int, ...], batch: int, noise: Noise | None) -> Float[Tensor, "b *k"]:
    """Uniform numbers in [0, 1) for each picture; `noise` None: torch's own generator."""
    if noise is None:
        return torch.rand(batch, *shape)
    return noise.uniform(shape, torch.arange(batch)).float()
