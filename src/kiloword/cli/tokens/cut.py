"""`kiloword tokens set`, `flip` and `stitch`: other tokens in a grid, the grid turned round, two grids joined.

What the picture becomes is set beside what pixels would become by the same cut; source: defined here.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kiloword.cli.panels import BLANK, Panel, differing, enlarged, outlined, side_of
from kiloword.cli.tokens.experiment import Result, Subject, files, give, lay
from kiloword.cli.tokens.options import Also, Where, Which
from kiloword.engine import surgery
from kiloword.engine.notation import Place, read_place, split_change
from kiloword.pixels import psnr

# Axes: H W pixels, h w cells of a grid.

AXES = ("x", "y")


def change(image: Path, texts: Sequence[str], which: Which, where: Where, also: Also) -> None:
    """Other tokens in some places: where the picture changes, in words and as a picture."""
    out, pairs = files(where, image, "set", also), [split_change(text) for text in texts]
    (subject,) = lay([image], which)
    subject.need_codes("set")
    layout, notation = subject.layout, subject.notation
    places = [read_place(place, layout) for place, _ in pairs]
    _refuse_twice(places)
    old = [subject.tokens[0, place.index(layout)] for place in places]
    new = [notation.read(text, token) for (_, text), token in zip(pairs, old, strict=True)]
    before = subject.drawn()
    after = subject.drawn(surgery.change(subject.tokens, layout, list(zip(places, new, strict=True))))
    difference = surgery.difference(before[None], after[None])[0]
    found = surgery.where(difference, layout, places)
    boxes = [surgery.cell(subject.fitted.size, layout, place) for place in places]
    changes = list(zip(places, old, new, strict=True))
    lines = [f"{place}: {notation.write(a)} -> {notation.write(b)}" for place, a, b in changes]
    lines += _spread_in_words(found)
    shares = f"{found.inside:.0%} in the frame, {found.near:.0%} in it or next to it"
    panels = [
        Panel("decoded as it was", outlined(enlarged(before), subject.fitted.size, boxes), "framed: what changes"),
        Panel("decoded with the change", enlarged(after)),
        differing("what changed", difference, caption=shares, boxes=boxes),
    ]
    facts = {
        "changes": [{**asdict(place), "before": a.tolist(), "after": b.tolist()} for place, a, b in changes],
        "changed": asdict(found),
    }
    give([subject], Result("set " + " ".join(map(str, places)), panels, lines, facts, after), out, where)


def _refuse_twice(places: Sequence[Place]) -> None:
    for place in places:
        if places.count(place) > 1:
            raise ValueError(f"{place} is changed {places.count(place)} times: change each token once")


def _spread_in_words(found: surgery.Spread) -> list[str]:
    if found.box is None:
        return ["nothing changed that 8 bits a channel can hold"]
    top, left, bottom, right = found.box
    where = f"rows {top} to {bottom - 1} and columns {left} to {right - 1}"
    return [
        f"changed: {found.pixels:,} of {found.of:,} pixels, in {where}, at most by {found.largest:.0%}",
        f"of the whole difference {found.inside:.0%} lies in the tokens' cells, {found.near:.0%} there or next to them",
    ]


def flip(image: Path, axis: str, which: Which, where: Where, also: Also) -> None:
    """The grid turned round, beside the picture turned round."""
    _check_axis(axis)
    out = files(where, image, "flip", also)
    (subject,) = lay([image], which)
    before = subject.drawn()
    turned = surgery.flip(subject.tokens, subject.layout, axis)
    after, mirrored = subject.drawn(turned), before.flip(2 if axis == "x" else 1)
    difference = surgery.difference(mirrored[None], after[None])[0]
    agree, decibel = _agreement(subject, turned, axis), float(psnr(after[None], mirrored[None])[0])
    way = "left to right" if axis == "x" else "top to bottom"
    side = side_of(4)
    panels = [
        Panel("decoded as it is", enlarged(before, side)),
        Panel("the picture mirrored", enlarged(mirrored, side), f"pixels turned round, {way}"),
        Panel("the grid reversed", enlarged(after, side), "tokens turned round, then decoded"),
        differing("how the last two differ", difference, side),
    ]
    lines = [f"reversed grid against mirrored picture: PSNR {decibel:.2f} dB, {difference.mean():.1%} apart on average"]
    if agree is not None:
        lines.append(
            f"the mirrored picture's own tokens agree with the reversed grid in {agree.mean():.0%} of their codes, "
            f"in single places in {agree.min():.0%} to {agree.max():.0%}"
        )
    facts = {"axis": axis, "psnr": decibel, "difference": float(difference.mean())}
    facts["codes_that_agree"] = None if agree is None else agree.tolist()
    give([subject], Result("flip", panels, lines, facts, after), out, where)


@torch.no_grad()
def _agreement(subject: Subject, turned: Tensor, axis: str) -> Float[Tensor, "h w"] | None:
    """The share of codes that the mirrored picture and the reversed finest grid have in common; none for numbers."""
    if turned.is_floating_point():
        return None
    pixels = subject.fitted.pixels.flip(3 if axis == "x" else 2)
    theirs = subject.tokenizer.encode(pixels, subject.layout).target
    same = (theirs == turned)[0, subject.layout.part(-1)].double()
    return same.view(*subject.layout.sizes[-1], -1).mean(-1)


def stitch(paths: tuple[Path, Path], axis: str, which: Which, where: Where, also: Also) -> None:
    """Halves of two grids joined, beside the joined halves of the pictures."""
    _check_axis(axis)
    out = files(where, Path(f"{paths[0].stem} {paths[1].stem}.png"), "stitch", also)
    first, second = lay(paths, which)
    joined = surgery.stitch(first.tokens, second.tokens, first.layout, axis)
    a, b, after = first.drawn(), second.drawn(), first.drawn(joined)
    kept = _pixels_of(surgery.half(*first.layout.sizes[-1], axis), first.fitted.size)
    pasted = torch.where(kept, a, b)
    difference = surgery.difference(pasted[None], after[None])[0]
    decibel = float(psnr(after[None], pasted[None])[0])
    middle = int(kept[0].sum()) if axis == "x" else int(kept[:, 0].sum())
    near = surgery.seam(difference, axis, middle, first.tokenizer.stride)
    panels = [
        Panel("A, decoded", enlarged(a), paths[0].name),
        Panel("B, decoded", enlarged(b), paths[1].name),
        BLANK,
        Panel("halves of pictures", enlarged(pasted), "pixels joined"),
        Panel("halves of grids", enlarged(after), "tokens joined, then decoded"),
        differing("how these two differ", difference),
    ]
    lines = [
        f"stitched grid against pasted pixels: PSNR {decibel:.2f} dB, {difference.mean():.1%} apart on average",
        f"of the whole difference {near:.0%} lies within one token ({first.tokenizer.stride} pixels) of the seam",
    ]
    facts = {"second": str(paths[1]), "axis": axis, "psnr": decibel, "difference": float(difference.mean())}
    result = Result(f"{paths[1].name} stitched to", panels, lines, {**facts, "near_seam": near}, after, columns=3)
    give([first, second], result, out, where)


def _pixels_of(kept: Bool[Tensor, "h w"], size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    return kept.repeat_interleave(size[0] // kept.shape[0], 0).repeat_interleave(size[1] // kept.shape[1], 1)


def _check_axis(axis: str) -> None:
    if axis not in AXES:
        raise ValueError(f"--axis is {axis!r}: choose {' or '.join(AXES)}")
