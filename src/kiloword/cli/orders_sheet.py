"""The sheet of an order: its table of unknown shares, and its grids with every token in the colour of its step.

Source: defined here; the colours run from light to dark through one hue, so that they differ in greyscale, too.
"""

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from kiloword.cli.panels import GREY, INK, LIGHT, MARK, Panel, font_of, sheet
from kiloword.tokens import Layout, Schedule

# Axes: s steps (and one row more for the start), n tokens of all grids.

WIDE, TALL = 560, 560  # pixels of a table, about
LARGEST = 30  # pixels of a cell, at most
EDGE, PADDING = 44, 10  # pixels for the numbers of rows and columns, and on the other sides
KNOWN, UNKNOWN = (246, 241, 228), (52, 60, 84)
COLOURS = ((255, 236, 158), (246, 165, 76), (205, 76, 96), (104, 40, 118), (32, 18, 68))  # first step to last
RULE = (226, 226, 226)


def sheet_of(heading: str, schedule: Schedule, layout: Layout) -> Image.Image:
    """The table and the grids of the first picture of a schedule."""
    when, where = table_of(schedule.table()[0], layout), grids_of(schedule, layout)
    panels = [
        Panel("when: what is known after each step", when, _legend(schedule, layout)),
        Panel("where: the step in which each token becomes known", where, _sizes(layout)),
    ]
    return sheet(heading, panels)


def table_of(shares: Float[Tensor, "s n"], layout: Layout) -> Image.Image:
    """Unknown shares as cells from light (known) to dark (unknown); lines stand between grids."""
    rows, columns = shares.shape
    high = max(1, min(LARGEST, TALL // rows))
    wide = max(1, min(LARGEST, WIDE // columns))
    high, wide = (min(high, 2 * wide), min(wide, 2 * high)) if min(high, wide) > 2 else (high, wide)
    ramp = np.asarray(KNOWN) + shares.numpy()[..., None] * (np.asarray(UNKNOWN) - np.asarray(KNOWN))
    cells = Image.fromarray(ramp.round().astype(np.uint8))
    cells = cells.resize((columns * wide, rows * high), Image.Resampling.NEAREST)
    right, bottom = EDGE + cells.width, EDGE + cells.height
    image = Image.new("RGB", (right + PADDING, bottom + PADDING), "white")
    image.paste(cells, (EDGE, EDGE))
    draw = ImageDraw.Draw(image)
    if min(high, wide) >= 5:
        _rule(draw, (EDGE, EDGE, right, bottom), rows, columns)
    for scale in range(1, len(layout.sizes)):
        x = EDGE + layout.part(scale).start * wide
        draw.line((x, EDGE - 6, x, bottom), MARK, 2)
    _numbers(draw, columns, wide, across=True)
    _numbers(draw, rows, high, across=False)
    draw.text((EDGE, 6), "token", GREY, font_of(12))
    draw.text((EDGE - 6, EDGE - 5), "step", GREY, font_of(12), anchor="rs")
    return image


def grids_of(schedule: Schedule, layout: Layout) -> Image.Image:
    """All grids, coarse to fine and one frame large, and the scale of their colours below."""
    steps, last = schedule.stop[0].ceil().long(), schedule.steps
    side = {1: 300, 2: 190}.get(len(layout.sizes), 130)
    tiles = [_tile(steps[layout.part(k)].tolist(), size, last, side) for k, size in enumerate(layout.sizes)]
    columns = 2 if len(tiles) == 4 else min(len(tiles), 3)
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    gap, below = 12, 44
    width = max(sum(tile.width + gap for tile in row) for row in rows) - gap
    heights = [max(tile.height for tile in row) + gap for row in rows]
    image = Image.new("RGB", (width + 2 * gap, sum(heights) + below + gap), "white")
    top = gap
    for row, height in zip(rows, heights, strict=True):
        left = gap
        for tile in row:
            image.paste(tile, (left, top))
            left += tile.width + gap
        top += height
    _scale_of_colours(image, (gap, top), min(width, 300), last)
    return image


def colour(share: float) -> tuple[int, int, int]:
    """The colour of a step; 0 is the first, 1 the last."""
    index, known = share * (len(COLOURS) - 1), range(len(COLOURS))
    red, green, blue = (round(float(np.interp(index, known, levels))) for levels in zip(*COLOURS, strict=True))
    return red, green, blue


def _tile(steps: list[int], size: tuple[int, int], last: int, side: int) -> Image.Image:
    """One grid: a cell a token, with the number of its step if it fits."""
    (h, w), font = size, font_of(12)
    cell = max(1, min(side // h, side // w))
    image = Image.new("RGB", (w * cell + 1, h * cell + 1), "white")
    draw, needed = ImageDraw.Draw(image), font.getlength(str(last)) + 6
    for number, step in enumerate(steps):
        left, top = number % w * cell, number // w * cell
        fill = colour((step - 1) / max(1, last - 1))
        draw.rectangle((left, top, left + cell, top + cell), fill, LIGHT if cell >= 10 else None)
        if cell >= max(needed, 16):
            ink = INK if 0.3 * fill[0] + 0.6 * fill[1] + 0.1 * fill[2] > 120 else LIGHT
            draw.text((left + cell / 2, top + cell / 2), str(step), ink, font, anchor="mm")
    return image


def _scale_of_colours(image: Image.Image, corner: tuple[int, int], width: int, last: int) -> None:
    draw, font, (left, top) = ImageDraw.Draw(image), font_of(12), corner
    for x in range(width):
        step = min(last - 1, x * last // width)
        draw.line((left + x, top + 4, left + x, top + 16), colour(step / max(1, last - 1)))
    draw.text((left, top + 22), "step 1", GREY, font)
    if last > 1:
        draw.text((left + width, top + 22), f"step {last}", GREY, font, anchor="ra")


def _rule(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], rows: int, columns: int) -> None:
    left, top, right, bottom = box
    for column in range(columns + 1):
        x = left + column * (right - left) // columns
        draw.line((x, top, x, bottom), RULE)
    for row in range(rows + 1):
        y = top + row * (bottom - top) // rows
        draw.line((left, y, right, y), RULE)


def _numbers(draw: ImageDraw.ImageDraw, count: int, cell: int, across: bool) -> None:
    """Of many numbers only some."""
    needed = 12 + 7 * len(str(count)) if across else 16
    every = next(step for step in (1, 2, 4, 5, 10, 20, 50, 100, 200, 500, 1000, 5000) if cell * step >= needed)
    for number in range(0, count, every):
        middle = EDGE + (number + 0.5) * cell
        at, anchor = ((middle, EDGE - 5), "ms") if across else ((EDGE - 6, middle), "rm")
        draw.text(at, str(number), GREY, font_of(11), anchor=anchor)


def _legend(schedule: Schedule, layout: Layout) -> str:
    grids = "; a red line: the next grid begins" if len(layout.sizes) > 1 else ""
    steps = f"{schedule.steps} step{'s' * (schedule.steps > 1)}"
    return f"dark: unknown; light: known{grids}\n{layout.count} tokens in {steps}; row 0 is the start"


def _sizes(layout: Layout) -> str:
    named = [f"{w}x{h}" for h, w in layout.sizes]
    return "one grid of " + named[0] if len(named) == 1 else f"{len(named)} grids: " + ", ".join(named)
