"""Training a diffusion decoder: noised pictures and their tokens in, clean pictures out.

Flow matching (Lipman et al. 2022) with clean patches predicted and errors weighed as errors of the velocity, 1/level^2
(Li and He 2025), though not beyond a bound, at levels around the middle (Esser et al. 2024, eq. 19). A share of every
batch learns long steps from two of its half steps (Frans et al. 2024, eq. 4 and 5). Groups, their order and their
overlap are drawn anew for every picture, and only groups at work have a loss (Lee et al. 2023; Ruhe et al. 2024), so
that all can be chosen afterwards.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kiloword.data.array import ReadOnlyArray
from kiloword.decoders.decoder import Effort
from kiloword.decoders.denoiser import places
from kiloword.decoders.diffusion_decoder import DiffusionDecoder
from kiloword.decoders.patches import GROUPINGS, Patches
from kiloword.evaluation.sheet import contact_sheet
from kiloword.noise import Seeded, mix
from kiloword.pixels import psnr
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import grouped, levels_at
from kiloword.training.augmentation import shrink, shuffled
from kiloword.training.corruption import corrupted

# Axes: b pictures, n tokens, t patches, k bands, d coefficients of a patch, S pixels a side.


@dataclass(frozen=True)
class DenoisingConfig:
    """Shares of a batch, and how its pictures and tokens are varied."""

    bound: float = 0.5  # level below which errors weigh no more: with 0, all are errors of the velocity
    grouped: float = 0.35  # batches whose pictures are drawn in groups; the others all at once
    centre: float = 0.5  # levels of pictures all at once: the sigmoid of a normal number with this mean, deviation 1
    long: float = 0.25  # pictures that learn a long step from two halves of it
    begin: float = 0.0  # share of the training before which none does, and step lengths are given at random
    preview: float = 0.08  # pictures that are guessed without any noise, for previews
    unknown: float = 0.1  # pictures of which no token is known
    suffix: float = 0.2  # pictures of which only the first tokens are known
    corrupt: float = 0.15  # half of the pictures have up to so many of their codes replaced by random ones
    shift: int = 6  # pixels by which a half of the pictures is moved at most
    halvings: int = 5  # a long step is 1, 1/2, .. 1/2^(halvings - 1) of a ramp

    def __post_init__(self):
        shares = (self.grouped, self.long, self.begin, self.preview, self.unknown, self.suffix, self.corrupt)
        if min(shares) < 0 or max(shares) > 1 or self.unknown + self.suffix > 1 or self.long + self.preview > 1:
            raise ValueError(f"shares of a batch lie within 0 and 1 and sum to 1 at most: {self}")


@dataclass(frozen=True)
class Levels:
    """Levels now, halfway and after a step, of every (patch, band)."""

    level: Float[Tensor, "b t k"]
    half: Float[Tensor, "b t k"]
    to: Float[Tensor, "b t k"]


class DenoisingTask:
    """`pictures` [p, 4, S, S], bytes in memory or on disk, are as large as the decoder draws them; the tokenizer
    is frozen."""

    def __init__(
        self, module: DiffusionDecoder, tokenizer: Tokenizer, pictures: ReadOnlyArray,
        weights: Float[Tensor, "p"], held_out: Int[Tensor, "q"], config: DenoisingConfig = DenoisingConfig(),
    ):  # fmt: skip
        self.module, self.tokenizer, self.pictures = module, tokenizer, pictures
        self.weights, self.held_out, self.config = weights, held_out, config
        side, covers = pictures.shape[-1], module.scale * module.stride
        if not isinstance(tokenizer, nn.Module) or tokenizer.space != module.space:
            raise ValueError(f"this decoder reads {module.space}, the tokenizer gives {tokenizer.space}")
        if tokenizer.stride != module.stride:
            raise ValueError(f"this decoder's tokens cover {module.stride} pixels, the tokenizer's {tokenizer.stride}")
        if side % covers or pictures.shape[1] != module.denoiser.config.channels:
            wanted = f"{module.denoiser.config.channels} channels and sides that are multiples of {covers} pixels"
            raise ValueError(f"this decoder draws pictures with {wanted}, got {list(pictures.shape)[1:]}")
        self.layout = tokenizer.layout(side // module.scale, side // module.scale)
        tokenizer.requires_grad_(False).eval()
        module.work_from(tokenizer)
        self.orders = {name: table(*self._grid, self._bands) for name, table in GROUPINGS.items()}

    @property
    def _grid(self) -> tuple[int, int]:
        return self.module.denoiser.grid(self.layout)

    @property
    def _bands(self) -> int:
        return self.module.denoiser.patches.bands

    def choose(self, iteration: int, count: int) -> Tensor:
        return shuffled(self.weights, iteration, count, seed=3)

    def loss(self, indices: Tensor, done: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        net, config, b = self.module.denoiser, self.config, len(indices)
        pixels = shifted(self.pictures[indices], config.shift).float().div(127.5).sub(1)
        pixels = pixels.to(next(net.parameters()).device)
        tokens, known = self._corrupt(self._tokens(pixels)), self._known(b).to(pixels.device)
        with torch.no_grad():  # of all tokens, though the guide may know fewer
            sketch = self.module.sketch(tokens, self.layout, torch.ones_like(known))
        guide = net.guide(tokens, self.layout, known, sketch)
        clean, noise = net.patches.split(pixels), torch.randn(b, self._count, net.patches.dim).to(pixels)
        early = done < config.begin
        long = 0 if early else round(b * config.long)
        preview = round(b * config.preview)
        levels = self._levels(b, long, preview, early)
        noise[b - preview :] = 0
        noise = net.pure(noise, guide.detach())
        level, to = (net.patches.spread(each.to(clean)) for each in (levels.level, levels.to))
        noised = mix(clean, noise, level)
        target = clean
        if long:
            first = slice(0, long)
            led = self._led(noised[first], _only(levels, first), guide[first].detach())
            target = torch.cat([self.module.shown(led), clean[long:]])
        predicted = self._heads_for(noised, levels.level, levels.to, guide)
        mask = (level > to) | ((level < 1) & (level > 0))
        mask[:long] = level[:long] > to[:long]
        error = (predicted - target).square() / (
            net.spread * net.spread.mean() * level.clamp(min=config.bound).square()
        )
        error = (error * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1)
        worth = mask.flatten(1).float().mean(1)  # pictures count by the share of their patches that have a loss
        parts = {"long": slice(0, long), "flow": slice(long, b - preview), "preview": slice(b - preview, b)}
        figures = {n: ((error * worth)[s].sum() / worth[s].sum().clamp(min=1e-6)).detach() for n, s in parts.items()}
        return (error * worth).sum() / worth.sum().clamp(min=1e-6), figures

    @property
    def _count(self) -> int:
        return self._grid[0] * self._grid[1]

    def _heads_for(self, x: Tensor, level: Tensor, to: Tensor, guide: Tensor) -> Float[Tensor, "b t d"]:
        active = (level < 1).any(-1) | (to < 1).any(-1)
        place = places(*self._grid).to(x).expand(len(x), -1, -1)
        return self.module.heads_for(
            x, level.to(x), to.to(x), guide, place, None if active.all() else active.to(x.device)
        )

    @torch.no_grad()
    def _led(self, x: Tensor, levels: Levels, guide: Tensor) -> Float[Tensor, "b t d"]:
        """The clean patches that one long step has to predict to arrive where two half steps do."""
        spread = self.module.denoiser.patches.spread
        a, m, b = (spread(each.to(x)) for each in (levels.level, levels.half, levels.to))
        first = self._heads_for(x, levels.level, levels.half, guide)
        middle = torch.where(a > m, x + (m - a) * (x - first) / a.clamp(min=1e-6), x)
        second = self._heads_for(middle, levels.half, levels.to, guide)
        end = torch.where(m > b, middle + (b - m) * (middle - second) / m.clamp(min=1e-6), middle)
        return torch.where(a > b, x - a * (end - x) / (b - a).clamp(max=-1e-6), x)

    def _levels(self, b: int, long: int, preview: int, early: bool = False) -> Levels:
        """Long steps first, then single moments, then previews; `early`, half of the moments have a step length."""
        ranks, overlap, groups = self._groups(b)
        total = 1 + overlap * (groups - 1)
        progress = torch.rand(b) * total
        if not bool((groups > 1).any()):
            progress = 1 - torch.sigmoid(torch.randn(b) + self.config.centre)
        step = 0.5 ** torch.randint(self.config.halvings, (b,)).float()
        start = (torch.rand(b) * (total / step).ceil()).floor() * step
        progress[:long] = start[:long]
        ahead = torch.where((torch.arange(b) < long) | (early & (torch.rand(b) < 0.5)), step, 0)
        progress[b - preview :], overlap[b - preview :] = 0, 0
        shape = (b, self._count, self._bands)
        level, half, to = (levels_at(progress + ahead * share, ranks, overlap).view(shape) for share in (0, 0.5, 1))
        to[b - preview :] = 0
        return Levels(level, half, to)

    def _groups(self, b: int) -> tuple[Tensor, Tensor, Tensor]:
        """Ranks of every (patch, band) [b, t k], overlaps and numbers of groups [b]."""
        names = list(self.orders)
        ranks, overlap, groups = torch.zeros(b, self._count * self._bands).long(), torch.zeros(b), torch.ones(b)
        for i in range(b) if torch.rand(()) < self.config.grouped else ():
            name = "rows" if torch.rand(()) < 0.6 else names[int(torch.randint(len(names), ()))]
            order = self.orders[name]
            limit = int(order.max()) + 1
            legal = [2**k for k in range(1, limit.bit_length()) if limit % 2**k == 0] or [limit]
            count = legal[int(torch.randint(min(len(legal), 5), ()))]
            ranks[i], groups[i] = grouped(order, count).reshape(-1), count
            overlap[i] = (1.0, 0.5, 0.25, float(torch.rand(())))[int(torch.randint(4, ()))]
        return ranks, overlap, groups

    @torch.no_grad()
    def _tokens(self, pixels: Tensor) -> Tensor:
        small = interpolate(pixels, scale_factor=1 / self.module.scale, mode="area")
        return self.tokenizer.encode(small, self.layout).shown

    def _known(self, b: int) -> Bool[Tensor, "b n"]:
        chance, n = torch.rand(b), self.layout.count
        stop = torch.where(chance < self.config.suffix, torch.randint(1, max(n, 2), (b,)), n)
        stop = torch.where(chance > 1 - self.config.unknown, 0, stop)
        return torch.arange(n)[None] < stop[:, None]

    def _corrupt(self, tokens: Tensor) -> Tensor:
        share = torch.rand(len(tokens)) * self.config.corrupt * (torch.rand(len(tokens)) < 0.5)
        return corrupted(tokens, self.module.space, share)

    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        """PSNR of held-out pictures for a preview, one step and four; a sheet of the first ones."""
        indices = self.held_out[:: max(1, len(self.held_out) // 64)][:64]
        device = next(self.module.parameters()).device
        true = shrink(self.pictures[indices], self.pictures.shape[-1]).to(device)
        tokens = self._tokens(true)
        known = torch.ones(len(indices), self.layout.count, dtype=torch.bool, device=device)
        small = self.tokenizer.decode(tokens, self.layout, known)
        enlarged = interpolate(small, size=true.shape[-2:], mode="bilinear", antialias=False)
        shown = {"own": enlarged, "preview": self.module.preview(tokens, self.layout, known)}
        for steps in (1, 2, 4, 16):
            noise, index = Seeded([int(i) for i in indices]), torch.arange(len(indices))
            *_, last = self.module.decode_steps(tokens, self.layout, known, Effort(steps), noise, index)
            shown[f"steps_{steps}"] = last.pixels
        sheet = torch.stack([true, *shown.values()], dim=1)[:24].flatten(0, 1)
        contact_sheet(sheet.cpu(), columns=3 * (1 + len(shown))).save(folder / f"look-{iteration:06d}.png")
        return {f"psnr_{name}": float(psnr(pixels, true).mean()) for name, pixels in shown.items()}


def _only(levels: Levels, part: slice) -> Levels:
    return Levels(levels.level[part], levels.half[part], levels.to[part])


@torch.no_grad()
def left_out(
    tokenizer: Tokenizer, patches: Patches, pictures: UInt8[Tensor, "p 4 S S"], scale: int
) -> tuple[float, ...]:
    """Root mean square difference between pictures and their enlarged sketches, of each band of a patch."""
    squares = torch.zeros(patches.bands)
    for batch in pictures.split(64):
        pixels, small = (shrink(batch, batch.shape[-1] // times) for times in (1, scale))
        layout = tokenizer.layout(*small.shape[-2:])
        tokens = tokenizer.encode(small, layout).shown
        sketch = tokenizer.decode(tokens, layout, torch.ones(tokens.shape[:2], dtype=torch.bool)).clamp(-1, 1)
        error = patches.split(pixels - interpolate(sketch, scale_factor=scale, mode="bilinear")).square().mean((0, 1))
        squares += len(batch) * torch.stack([error[patches.band == band].mean() for band in range(patches.bands)])
    return tuple((squares / len(pictures)).sqrt().tolist())


def shifted(values: UInt8[Tensor, "b 4 S S"], limit: int) -> UInt8[Tensor, "b 4 S S"]:
    """A half of the pictures moved by whole pixels, so that nothing is blurred; what comes in is transparent."""
    b, side = len(values), values.shape[-1]
    by = torch.randint(-limit, limit + 1, (b, 2)) * (torch.rand(b, 1) < 0.5)
    moved = torch.zeros_like(values)
    for i, (dy, dx) in enumerate(by.tolist()):
        into = (slice(max(0, dy), side + min(0, dy)), slice(max(0, dx), side + min(0, dx)))
        out = (slice(max(0, -dy), side + min(0, -dy)), slice(max(0, -dx), side + min(0, -dx)))
        moved[i][:, *into] = values[i][:, *out]
    return moved
