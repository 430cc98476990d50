"""Surgery: change a picture's tokens, turn and join grids, and see what becomes of the picture.

The experiments by which image tokens are understood, on tokens of any kind since van den Oord et al. 2017 (VQ-VAE).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor

from kiloword.engine.fitting import Fitted, showable
from kiloword.engine.notation import Notation, Place
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Bits, Categorical, Layout

# Axes: b pictures, n tokens of all grids, c channels, H W pixels, h w cells of one grid.

VISIBLE = 1 / 255  # the smallest difference that a file of 8 bits can hold


@torch.no_grad()
def read(tokenizer: Tokenizer, fitted: Fitted) -> Tensor:
    """The tokens [1, n] or [1, n, tail] of a picture."""
    return tokenizer.encode(fitted.pixels, fitted.layout).target


@torch.no_grad()
def draw(tokenizer: Tokenizer, tokens: Tensor, layout: Layout) -> Float[Tensor, "b 4 H W"]:
    """The pictures of tokens that are all known, as premultiplied RGBA."""
    known = torch.ones(tokens.shape[:2], dtype=torch.bool)
    return showable(tokenizer.decode(tokens, layout, known))


def draw_many(tokenizer: Tokenizer, tokens: Tensor, layout: Layout, batch: int) -> Iterator[Float[Tensor, "4 H W"]]:
    """The same for many grids, a few of them at a time."""
    for part in tokens.split(batch):
        yield from draw(tokenizer, part, layout)


def change(tokens: Tensor, layout: Layout, changes: Sequence[tuple[Place, Tensor]]) -> Tensor:
    """The grid with other tokens in some places."""
    tokens = tokens.clone()
    for place, token in changes:
        tokens[:, place.index(layout)] = token
    return tokens


def flip(tokens: Tensor, layout: Layout, axis: str = "x") -> Tensor:
    """Every grid turned round: left to right ("x"), or top to bottom ("y")."""
    return _grid_by_grid(tokens, layout, lambda grid: grid.flip(2 if axis == "x" else 1))


def stitch(first: Tensor, second: Tensor, layout: Layout, axis: str = "x") -> Tensor:
    """The left (or with "y" the upper) half of every grid from one picture, the rest from another.

    Where a grid has an odd number of columns, the one in the middle is the first picture's.
    """
    kept = torch.cat([half(h, w, axis).flatten() for h, w in layout.sizes])
    return torch.where(kept.view(1, -1, *(1,) * (first.ndim - 2)), first, second)


def half(h: int, w: int, axis: str) -> Bool[Tensor, "h w"]:
    """The left or upper half of a grid, with what lies in the middle."""
    count = w if axis == "x" else h
    kept = torch.arange(count) < (count + 1) // 2
    return kept.expand(h, w) if axis == "x" else kept[:, None].expand(h, w)


@dataclass(frozen=True)
class Trial:
    """A token to be tried in a place, and what is to be written under its picture."""

    label: str
    token: Tensor
    same: bool = False  # it is the token that is there already


def sweep(token: Tensor, notation: Notation, n: int, group: int = 0) -> list[list[Trial]]:
    """What could stand in a token's place, in rows.

    Of ids: `n` of them, spread evenly over the codebook. Of several codes: a row for each code of the group, with up to
    `n` of its values, all others left as they are. Of bits: each bit turned over.
    """
    sizes = notation.sizes
    if isinstance(notation.space, Categorical):
        return [[Trial(str(i), torch.tensor(i), int(token) == i) for i in _spread(sizes[0], n, int(token))]]
    codes = range(notation.group(group).start, notation.group(group).stop)
    if isinstance(notation.space, Bits):
        return [[_trial(token, code, 1 - int(token[code]), code, "bit")] for code in codes]
    return [
        [_trial(token, code, value, number, "code") for value in _spread(size, n, int(token[code]))]
        for number, (code, size) in enumerate(zip(codes, sizes, strict=True))
    ]


def _trial(token: Tensor, code: int, value: int, number: int, what: str) -> Trial:
    changed = token.clone()
    changed[code] = value
    return Trial(f"{what} {number} = {value}", changed, bool((changed == token).all()))


def _spread(size: int, n: int, current: int) -> list[int]:
    """At most n of `size` values, spread evenly; the current one stands for the nearest of them."""
    if n >= size:
        return list(range(size))
    values = torch.linspace(0, size - 1, n).round().long().tolist()
    nearest = min(range(n), key=lambda place: abs(values[place] - current))
    return [*values[:nearest], current, *values[nearest + 1 :]]


def difference(ours: Float[Tensor, "b 4 H W"], theirs: Float[Tensor, "b 4 H W"]) -> Float[Tensor, "b H W"]:
    """How far two pictures are apart in each pixel, from 0 to 1: the channel that differs most, alpha included."""
    return (ours - theirs).abs().amax(dim=1) / 2


@dataclass(frozen=True)
class Spread:
    """Where a picture changed: pixels, the box around them (top, left, bottom, right), and how near it all lies.

    `inside` is the share of the whole difference that lies in the cells of the changed tokens, `near` the share that
    lies in them or in a cell next to one.
    """

    pixels: int
    of: int
    box: tuple[int, int, int, int] | None
    inside: float
    near: float
    largest: float


def where(change: Float[Tensor, "H W"], layout: Layout, places: Sequence[Place]) -> Spread:
    """Where a picture changed, seen from the places whose tokens were changed."""
    seen = change >= VISIBLE
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else None
    total = change.double().sum().clamp(min=1e-12)
    near = [
        float((change.double() * cells(change.shape, layout, places, reach)).sum() / total) if box else 0.0
        for reach in (0, 1)
    ]
    return Spread(int(seen.sum()), change.numel(), box, near[0], near[1], float(change.max()))


def cells(size: Sequence[int], layout: Layout, places: Sequence[Place], reach: int = 0) -> Bool[Tensor, "H W"]:
    """The pixels of some tokens, and of those up to `reach` cells away."""
    found = torch.zeros(tuple(size), dtype=torch.bool)
    for place in places:
        top, left, bottom, right = cell(size, layout, place, reach)
        found[top:bottom, left:right] = True
    return found


def cell(size: Sequence[int], layout: Layout, place: Place, reach: int = 0) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of a token's pixels, and of those up to `reach` cells away, within the picture."""
    (h, w), (height, width) = layout.sizes[place.scale], (int(side) for side in size)
    top, bottom = (max(0, min(h, place.row + step)) * height // h for step in (-reach, 1 + reach))
    left, right = (max(0, min(w, place.column + step)) * width // w for step in (-reach, 1 + reach))
    return top, left, bottom, right


def bits(tokenizer: Tokenizer, layout: Layout) -> float:
    """Bits of the tokens from which a picture is decoded: those of all grids, but of a pyramid the finest alone."""
    count = layout.counts[-1] if tokenizer.drafts else layout.count
    return count * tokenizer.space.bits


def colours(tokens: Tensor, notation: Notation) -> Float[Tensor, "n 3"]:
    """A colour in [0, 1] for each of the tokens [n] or [n, tail], equal for equal ones.

    Ids get colours that say nothing else. Of tokens of several numbers, similar ones get similar colours: their three
    principal components are red, green and blue (Pearson 1901).
    """
    if isinstance(notation.space, Categorical):
        return _hues(tokens)
    values = tokens.double()
    values = values - values.mean(0)
    _, _, axes = torch.linalg.svd(values, full_matrices=False)
    axes = axes[:3] * torch.sign(axes[:3].sum(1, keepdim=True) + 1e-9)
    found = values @ axes.T
    found = torch.nn.functional.pad(found, (0, 3 - found.shape[1]))
    reach = found.abs().amax(0).clamp(min=1e-9)
    return (found / reach * 0.45 + 0.5).float()


def _hues(ids: Tensor) -> Float[Tensor, "n 3"]:
    """Colours as unlike as can be for neighbouring ids: hues in steps of the golden ratio, in three strengths."""
    hue = (ids.double() * 0.6180339887498949) % 1
    strength = 0.55 + 0.15 * (ids.double() % 3)
    wave = (hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6
    pure = (torch.minimum((wave - 3).abs() - 1, torch.ones(()).double())).clamp(0, 1)
    return (strength[:, None] * (0.25 + 0.75 * pure)).float()


def _grid_by_grid(tokens: Tensor, layout: Layout, turn) -> Tensor:
    done = []
    for scale, (h, _) in enumerate(layout.sizes):
        grid = rearrange(tokens[:, layout.part(scale)], "b (h w) ... -> b h w ...", h=h)
        done.append(rearrange(turn(grid), "b h w ... -> b (h w) ..."))
    return torch.cat(done, dim=1)


def seam(change: Float[Tensor, "H W"], axis: str, middle: int, reach: int) -> float:
    """The share of a difference that lies within `reach` pixels of the line at `middle`, on either side."""
    along = reduce(change.double(), "H W -> W" if axis == "x" else "H W -> H", "sum")
    return float(along[max(0, middle - reach) : middle + reach].sum() / along.sum().clamp(min=1e-12))
