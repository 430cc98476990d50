"""Tiles: a very large picture through a tokenizer's networks piece by piece, in memory that its size hardly decides.

Ronneberger et al. 2015 (U-Net: overlapping tiles). Two things need the whole picture all the same: attention, which is
run on the coarse grids before or after the tiles, and group norms (Wu and He 2018), which are measured first.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import group_norm

from kiloword.noise import Noise
from kiloword.tokenizers.autoencoder import Autoencoder
from kiloword.tokenizers.quantizer import Quantized, forget
from kiloword.tokens import Layout

# Axes: b pictures, n tokens, c d channels, g groups of channels, H W pixels, h w s t grids as fine as tokens or finer.

Step = Callable[[Tensor], Tensor]
Run = Callable[[Tensor, Layout], Tensor]
Progress = Callable[[str, int, int | None], None]  # what was done, how many of them, of how many


@dataclass(frozen=True)
class Tiling:
    """Tiles of at most `side` tokens, each run with `overlap` more all around, which are then thrown away.

    All norms have the same statistics in every tile, measured in the middle of each: `measured` is the share of a side.
    1 gives exactly those of the whole picture; less is quicker and leaves no seams either, but all may be brighter or
    paler; 0 lets every tile be normalised by itself, so that seams show. Steps of a network that take and give at most
    `whole` numbers are run on the whole picture, so that a few times as many are held at once.
    """

    side: int = 32
    overlap: int = 4
    measured: float = 1.0
    whole: int = 2**27

    def __post_init__(self):
        if self.side < 1 or min(self.overlap, self.whole) < 0 or not 0 <= self.measured <= 1:
            raise ValueError(
                "a tile has at least one token a side, overlap and whole are not negative, measured is a share, "
                f"got {self.side}, {self.overlap}, {self.whole} and {self.measured}"
            )


@torch.no_grad()
def decode_tiled(
    tokenizer: Autoencoder,
    tokens: Tensor,
    layout: Layout,
    known: Bool[Tensor, "b n"] | None = None,
    tiling: Tiling = Tiling(),
    progress: Progress | None = None,
) -> Float[Tensor, "b c H W"]:
    """What `tokenizer.decode` gives: exactly, if all tiles are measured and overlap as far as the decoder sees."""
    if tokens.shape[1] != layout.count:
        raise ValueError(f"this layout has {layout.count} tokens, got {list(tokens.shape)}")
    known = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if known is None else known
    x = tokenizer.quantizer.lookup(forget(tokens, known, tokenizer.space), layout)
    decoder = tokenizer.decoder
    if decoder.steps:
        made = through(decoder, decoder.steps, range(decoder.wide), x, layout, tiling, progress)
    else:
        made = sweep(decoder, decoder, x, layout, tiling, progress)
    return made.float().contiguous()


@torch.no_grad()
def encode_tiled(
    tokenizer: Autoencoder,
    pixels: Float[Tensor, "b c H W"],
    layout: Layout,
    noise: Noise | None = None,
    tiling: Tiling = Tiling(),
    progress: Progress | None = None,
) -> Quantized:
    """What `tokenizer.encode` gives, as near as `decode_tiled` comes; the quantizer has the latent in one piece."""
    wanted = [tokenizer.channels, *(side * tokenizer.stride for side in layout.sizes[-1])]
    if list(pixels.shape[1:]) != wanted:
        raise ValueError(f"the layout asks for pictures of {wanted}, got {list(pixels.shape)}")
    encoder = tokenizer.encoder
    if steps := encoder.steps:
        wide = range(len(steps) - encoder.wide, len(steps))
        latent = through(encoder, steps, wide, pixels, layout, tiling, progress)
    else:
        latent = sweep(encoder, encoder, pixels, layout, tiling, progress)
    return tokenizer.quantizer.quantize(latent, layout, noise)


def through(
    network: nn.Module,
    steps: Sequence[Step],
    wide: range,
    x: Tensor,
    layout: Layout,
    tiling: Tiling,
    progress: Progress | None,
) -> Float[Tensor, "b d s t"]:
    """All steps of a network: small and wide ones whole, middling ones in tiles one by one, runs of large ones at once.

    What lies between two steps that are done at once is never there in one piece, so that the norms of the second can
    only be measured by doing the first again.
    """
    sizes, done = numbers(steps, x, layout), 0
    x = x.contiguous(memory_format=torch.channels_last)  # attention needs no table of all pairs of places then
    while done < len(steps):
        after = done + 1
        if done in wide or sizes[done] <= tiling.whole:
            x = steps[done](x)
        else:
            while after < len(steps) and min(sizes[after - 1 : after + 1]) > 2 * tiling.whole:
                after += 1
            x = sweep(network, partial(in_turn, steps[done:after]), x, layout, tiling, progress)
        done = after
    return x


def numbers(steps: Sequence[Step], x: Float[Tensor, "b c s t"], layout: Layout) -> list[int]:
    """How many each step takes or gives, whichever is more, if `x` goes through all of them; found out on one token."""
    h, w = layout.sizes[-1]
    x = x[..., : x.shape[2] // h, : x.shape[3] // w]
    counts = [x.numel()]
    for step in steps:
        x = step(x)
        counts.append(x.numel())
    return [h * w * max(pair) for pair in pairwise(counts)]


def in_turn(steps: Sequence[Step], x: Tensor, layout: Layout) -> Tensor:
    """One step after the other."""
    return reduce(lambda value, step: step(value), steps, x)


@dataclass(frozen=True)
class Tile:
    """Rows and columns of tokens that are `kept`, and those that are `seen` for their sake, of a picture's `grid`."""

    kept: tuple[slice, slice]
    seen: tuple[slice, slice]
    grid: tuple[int, int]

    @property
    def layout(self) -> Layout:
        return Layout((tuple(part.stop - part.start for part in self.seen),))

    def place(self, picture: Tensor, which: tuple[slice, slice]) -> Tensor:
        """Where those tokens lie on a grid of the picture, which is as fine as the tokens or several times finer."""
        fine = picture.shape[-1] // self.grid[1]
        rows, columns = (slice(part.start * fine, part.stop * fine) for part in which)
        return picture[..., rows, columns]

    def inside(self, seen: Tensor) -> Tensor:
        """The kept part of a grid of what is seen."""
        within = [
            slice(kept.start - around.start, kept.stop - around.start)
            for kept, around in zip(self.kept, self.seen, strict=True)
        ]
        return Tile(self.kept, self.seen, self.layout.sizes[0]).place(seen, (within[0], within[1]))


def cover(grid: tuple[int, int], tiling: Tiling, share: float = 1.0) -> list[Tile]:
    """Tiles of nearly equal size that make up a grid of tokens, in raster order; of each the middle `share` is kept."""
    axes = []
    for length in grid:
        count = -(-length // tiling.side)
        axes.append([])
        for start, stop in pairwise(length * i // count for i in range(count + 1)):
            kept = max(1, round((stop - start) * share))
            start += (stop - start - kept) // 2
            around = slice(max(0, start - tiling.overlap), min(length, start + kept + tiling.overlap))
            axes[-1].append((slice(start, start + kept), around))
    return [Tile((y[0], x[0]), (y[1], x[1]), grid) for y in axes[0] for x in axes[1]]


def sweep(
    network: nn.Module, run: Run, x: Float[Tensor, "b c h w"], layout: Layout, tiling: Tiling, progress: Progress | None
) -> Float[Tensor, "b d s t"]:
    """`run`, a part of the network, over all tiles of `x`, put together."""
    tiles, norms, made = cover(layout.sizes[-1], tiling), Norms(network), x
    if tiling.measured and norms.norms:
        norms.measure(run, x, cover(layout.sizes[-1], tiling, tiling.measured), progress)
    for number, tile in enumerate(tiles):
        with norms.fixed():
            piece = run(tile.place(x, tile.seen), tile.layout)
        if not number:
            fine = piece.shape[-1] // tile.layout.sizes[0][1]
            made = torch.empty(
                (*piece.shape[:2], *(side * fine for side in tile.grid)),
                dtype=piece.dtype, device=piece.device, memory_format=torch.channels_last,
            )  # fmt: skip
        tile.place(made, tile.kept).copy_(tile.inside(piece))
        if progress is not None:
            progress("tiles done", number + 1, len(tiles))
    return made


class Moments:
    """Mean and variance of each group of channels of each picture, over all that was added.

    Rows are put together in double precision: torch's own norm is off by 2e-4 at 1024x1024 pixels, channels last.
    """

    def __init__(self, batch: int, groups: int, device: torch.device):
        self.count = 0
        self.values, self.squares = torch.zeros(2, batch, groups, dtype=torch.float64, device=device)

    def add(self, x: Float[Tensor, "b c h w"]) -> None:
        variance, mean = (row.double() for row in torch.var_mean(x, dim=3, correction=0))
        for total, rows in ((self.values, mean), (self.squares, variance + mean.square())):
            total += x.shape[3] * rows.unflatten(1, (total.shape[1], -1)).sum((2, 3))
        self.count += x[0].numel() // self.values.shape[1]

    def normalise(self, x: Float[Tensor, "b c h w"], norm: nn.GroupNorm) -> Float[Tensor, "b c h w"]:
        """What the norm makes of `x` by these statistics."""
        mean = self.values / self.count
        gain = (self.squares / self.count - mean.square() + norm.eps).rsqrt()
        gain, offset = (part.repeat_interleave(x.shape[1] // mean.shape[1], 1) for part in (gain, -mean * gain))
        if norm.affine:
            gain, offset = gain * norm.weight, offset * norm.weight + norm.bias
        gain, offset = (rearrange(part.to(x), "b c -> b c 1 1") for part in (gain, offset))
        return torch.addcmul(offset, x, gain)


class Reached(Exception):
    """The norm that is being measured has seen its input: the rest of the network need not be run."""


class Norms:
    """The group norms of a network in the order they are called, with fixed statistics for a while."""

    def __init__(self, network: nn.Module):
        self.norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
        self.held: list[Moments] = []

    def measure(self, run: Run, x: Tensor, tiles: list[Tile], progress: Progress | None) -> None:
        """Hold the statistics of every norm in some tiles: one norm after the other, each with those before it held."""
        while True:
            found: list[Moments] = []
            for tile in tiles:
                try:
                    with self.fixed(tile, found):
                        run(tile.place(x, tile.seen), tile.layout)
                    return
                except Reached:
                    continue
            self.held += found
            if progress is not None:
                progress("norms measured", len(self.held), None)

    @contextmanager
    def fixed(self, tile: Tile | None = None, found: list[Moments] | None = None) -> Iterator[None]:
        """The norms by what is held, the others by what they are given; the first of those is measured if asked for."""
        called = 0

        def forward(norm: nn.GroupNorm, x: Tensor) -> Tensor:
            nonlocal called
            called += 1
            if called <= len(self.held):
                return self.held[called - 1].normalise(x, norm)
            if tile is None or found is None:
                return group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)
            if not found:
                found.append(Moments(len(x), norm.num_groups, x.device))
            found[0].add(tile.inside(x))
            raise Reached

        try:
            for norm in self.norms:
                vars(norm)["forward"] = partial(forward, norm)
            yield
        finally:
            for norm in self.norms:
                vars(norm).pop("forward", None)
