"""`kiloword tokens set`, `flip` and `stitch`: tokens changed, the grid reversed, two grids joined.

The decoded picture is shown beside the same change to pixels; source: defined here.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kiloword.cli.panels import BLANK, Panel, differing, enlarged, outlined, side_of
from kiloword.cli.tokens.experiment import Result, Subject, checked_paths, encoded, write_result
from kiloword.cli.tokens.options import ExtraFile, FileOptions, TokenizerOptions
from kiloword.engine import surgery
from kiloword.engine.notation import Place, read_place, split_change
from kiloword.pixels import psnr

# Axes: H W pixels, h w cells of a grid.

AXES = ("x", "y")


def change(
    image: Path, texts: Sequence[str], tokenizer: TokenizerOptions, files: FileOptions, extra: ExtraFile
) -> None:
    """Change some tokens, and show where the picture changes."""
    out, pairs = checked_paths(files, image, "set", extra), [split_change(text) for text in texts]
    (subject,) = encoded([image], tokenizer)
    subject.need_codes("set")
    layout, notation = subject.layout, subject.notation
    positions = [read_place(position, layout) for position, _ in pairs]
    _refuse_twice(positions)
    old = [subject.tokens[0, position.index(layout)] for position in positions]
    new = [notation.read(text, token) for (_, text), token in zip(pairs, old, strict=True)]
    before = subject.drawn()
    after = subject.drawn(surgery.change(subject.tokens, layout, list(zip(positions, new, strict=True))))
    difference = surgery.difference(before[None], after[None])[0]
    found = surgery.where(difference, layout, positions)
    boxes = [surgery.cell(subject.fitted.size, layout, position) for position in positions]
    changes = list(zip(positions, old, new, strict=True))
    lines = [f"{position}: {notation.write(a)} -> {notation.write(b)}" for position, a, b in changes]
    lines += _spread_in_words(found)
    shares = f"{found.inside:.0%} in the frame, {found.near:.0%} in it or next to it"
    panels = [
        Panel("decoded as it was", outlined(enlarged(before), subject.fitted.size, boxes), "framed: what changes"),
        Panel("decoded with the change", enlarged(after)),
        differing("what changed", difference, caption=shares, boxes=boxes),
    ]
    facts = {
        "changes": [{**asdict(position), "before": a.tolist(), "after": b.tolist()} for position, a, b in changes],
        "changed": asdict(found),
    }
    write_result([subject], Result("set " + " ".join(map(str, positions)), panels, lines, facts, after), out, files)


def _refuse_twice(positions: Sequence[Place]) -> None:
    for position in positions:
        if positions.count(position) > 1:
            raise ValueError(f"{position} is changed {positions.count(position)} times: change each token once")


def _spread_in_words(found: surgery.Spread) -> list[str]:
    if found.box is None:
        return ["nothing changed that 8 bits a channel can hold"]
    top, left, bottom, right = found.box
    where = f"rows {top} to {bottom - 1} and columns {left} to {right - 1}"
    return [
        f"changed: {found.pixels:,} of {found.of:,} pixels, in {where}, at most by {found.largest:.0%}",
        f"of the whole difference {found.inside:.0%} lies in the tokens' cells, {found.near:.0%} there or next to them",
    ]


def flip(image: Path, axis: str, tokenizer: TokenizerOptions, files: FileOptions, extra: ExtraFile) -> None:
    """Decode the reversed grid, beside the mirrored picture."""
    _check_axis(axis)
    out = checked_paths(files, image, "flip", extra)
    (subject,) = encoded([image], tokenizer)
    before = subject.drawn()
    reversed_grid = surgery.flip(subject.tokens, subject.layout, axis)
    after, mirrored = subject.drawn(reversed_grid), before.flip(2 if axis == "x" else 1)
    difference = surgery.difference(mirrored[None], after[None])[0]
    agree, decibel = _agreement(subject, reversed_grid, axis), float(psnr(after[None], mirrored[None])[0])
    way = "left to right" if axis == "x" else "top to bottom"
    side = side_of(4)
    panels = [
        Panel("decoded as it is", enlarged(before, side)),
        Panel("the picture mirrored", enlarged(mirrored, side), f"pixels reversed, {way}"),
        Panel("the grid reversed", enlarged(after, side), "tokens reversed, then decoded"),
        differing("how the last two differ", difference, side),
    ]
    lines = [f"reversed grid against mirrored picture: PSNR {decibel:.2f} dB, {difference.mean():.1%} apart on average"]
    if agree is not None:
        lines.append(
            f"the mirrored picture's own tokens agree with the reversed grid in {agree.mean():.0%} of their codes, "
            f"per token in {agree.min():.0%} to {agree.max():.0%}"
        )
    facts = {"axis": axis, "psnr": decibel, "difference": float(difference.mean())}
    facts["codes_that_agree"] = None if agree is None else agree.tolist()
    write_result([subject], Result("flip", panels, lines, facts, after), out, files)


@torch.no_grad()
def _agreement(subject: Subject, reversed_grid: Tensor, axis: str) -> Float[Tensor, "h w"] | None:
    """The share of equal codes between the mirrored picture's tokens and the reversed finest grid; None for vectors."""
    if reversed_grid.is_floating_point():
        return None
    pixels = subject.fitted.pixels.flip(3 if axis == "x" else 2)
    mirrored = subject.tokenizer.encode(pixels, subject.layout).target
    same = (mirrored == reversed_grid)[0, subject.layout.part(-1)].double()
    return same.view(*subject.layout.sizes[-1], -1).mean(-1)


def stitch(
    paths: tuple[Path, Path], axis: str, tokenizer: TokenizerOptions, files: FileOptions, extra: ExtraFile
) -> None:
    """Decode the joined halves of two grids, beside the joined halves of the pictures."""
    _check_axis(axis)
    out = checked_paths(files, Path(f"{paths[0].stem} {paths[1].stem}.png"), "stitch", extra)
    first, second = encoded(paths, tokenizer)
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
    write_result([first, second], result, out, files)


def _pixels_of(kept: Bool[Tensor, "h w"], size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    return kept.repeat_interleave(size[0] // kept.shape[0], 0).repeat_interleave(size[1] // kept.shape[1], 1)


def _check_axis(axis: str) -> None:
    if axis not in AXES:
        raise ValueError(f"--axis is {axis!r}: choose {' or '.join(AXES)}")
