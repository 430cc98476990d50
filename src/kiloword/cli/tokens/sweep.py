"""`kiloword tokens sweep`: a picture decoded with one token set to many values.

One code is changed at a time, all others stay; source: defined here.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kiloword.cli.panels import BLANK, Panel, enlarged, outlined
from kiloword.cli.stop import check
from kiloword.cli.tokens.experiment import Result, checked_paths, encoded, write_result
from kiloword.cli.tokens.options import FileOptions, TokenizerOptions
from kiloword.engine import surgery
from kiloword.engine.notation import read_place
from kiloword.engine.surgery import Trial
from kiloword.tokens import Categorical

# Axes: H W pixels.

MAX_PICTURES = 512  # pictures of one sheet
PIXELS_AT_ONCE = 2**19  # pixels that are decoded together
IDS, VALUES = 40, 8
TILE, COLUMNS = 144, 8
MARGIN = 12  # pixels around the token's cell that are shown at least; else one cell's size


def sweep(image: Path, text: str, n: int | None, group: int, tokenizer: TokenizerOptions, files: FileOptions) -> None:
    """Show a tile for each value, and print how much each code changes the token's own cell."""
    if n is not None and not 2 <= n <= MAX_PICTURES:
        raise ValueError(f"-n is {n}: try 2 to {MAX_PICTURES} values")
    out = checked_paths(files, image, "sweep")
    (subject,) = encoded([image], tokenizer)
    subject.need_codes("sweep")
    position, notation = read_place(text, subject.layout), subject.notation
    if not 0 <= group < notation.groups:
        raise ValueError(f"--group is {group}: tokens of {subject.model} have groups 0 to {notation.groups - 1}")
    token = subject.tokens[0, position.index(subject.layout)]
    count = n or (IDS if isinstance(subject.tokenizer.space, Categorical) else VALUES)
    rows = surgery.sweep(token, notation, count, group)
    if sum(map(len, rows)) > MAX_PICTURES:
        raise ValueError(f"that would be {sum(map(len, rows))} pictures, more than {MAX_PICTURES}: choose a smaller -n")
    trials = [trial for row in rows for trial in row]
    grids = torch.cat([surgery.change(subject.tokens, subject.layout, [(position, t.token)]) for t in trials])
    cell = surgery.cell(subject.fitted.size, subject.layout, position)
    before, tiles, amounts = subject.drawn(), [], []
    height, width = subject.fitted.size
    pictures = surgery.draw_many(subject.tokenizer, grids, subject.layout, max(1, PIXELS_AT_ONCE // (height * width)))
    for trial, drawn in zip(trials, pictures, strict=True):
        check()
        tiles.append(_tile(drawn, cell, trial))
        amounts.append(_amount(before, drawn, cell))
    panels, columns = _in_rows([len(row) for row in rows], tiles)
    first = Panel("as it is", outlined(enlarged(before, TILE), subject.fitted.size, [cell]), f"framed: {position}")
    tried = [
        {"label": trial.label, "token": trial.token.tolist(), "same": trial.same, "change": amount}
        for trial, amount in zip(trials, amounts, strict=True)
    ]
    panels, facts = [first, *[BLANK] * (columns - 1), *panels], {"place": text, "group": group, "tried": tried}
    write_result(
        [subject], Result(f"sweep of {position}", panels, _in_words(rows, amounts), facts, columns=columns), out, files
    )


def _amount(before: Tensor, after: Tensor, box: tuple[int, int, int, int]) -> float:
    """The mean difference in the token's own cell."""
    top, left, bottom, right = box
    return float(surgery.difference(before[None], after[None])[0, top:bottom, left:right].mean())


def _tile(drawn: Float[Tensor, "4 H W"], cell: tuple[int, int, int, int], trial: Trial) -> Panel:
    """The token's cell and what is around it; framed if nothing was changed."""
    top, left, bottom, right = cell
    down, along = max(MARGIN, bottom - top), max(MARGIN, right - left)
    drawn = drawn[:, max(0, top - down) : bottom + down, max(0, left - along) : right + along]
    image = enlarged(drawn, TILE)
    if trial.same:
        image = outlined(image, (drawn.shape[1], drawn.shape[2]), [(0, 0, drawn.shape[1], drawn.shape[2])])
    return Panel("", image, trial.label + (" (as it is)" if trial.same else ""))


def _in_rows(lengths: list[int], tiles: list[Panel]) -> tuple[list[Panel], int]:
    """Tiles in their rows, short rows filled up with blanks; a single row is wrapped. Also the number of columns."""
    if len(lengths) == 1 or max(lengths) == 1:
        return tiles, min(COLUMNS, len(tiles))
    columns, found, start = max(lengths), [], 0
    for length in lengths:
        found += tiles[start : start + length] + [BLANK] * (columns - length)
        start += length
    return found, columns


def _in_words(rows: list[list[Trial]], amounts: list[float]) -> list[str]:
    """A line for each row of trials."""
    lines, left = [], iter(amounts)
    for row in rows:
        tried = [(amount, trial.label) for trial, amount in zip(row, left, strict=False) if not trial.same]
        if not tried:
            continue
        largest, label = max(tried)
        if len(tried) == 1:
            lines.append(f"{label}: changes its own cell by {largest:.1%}")
            continue
        name = label.split(" = ")[0] if " = " in label else f"{len(tried)} ids"
        mean = sum(amount for amount, _ in tried) / len(tried)
        lines.append(f"{name}: changes its own cell by {mean:.1%} on average, most as {label} ({largest:.1%})")
    return lines
