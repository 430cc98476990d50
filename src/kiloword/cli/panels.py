"""Sheets for looking at tokens: pictures enlarged pixel by pixel, side by side, with a line of words above and below.

Transparency is shown as a chequerboard, as painting programs do; source: defined here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from kiloword.pixels import to_image

# Axes: H W pixels, h w cells of a grid.

SIDE = 320  # pixels of a panel's longer side, at most
WIDEST = 1180  # pixels of a sheet, about
GAP, MARGIN, HEAD, LINE = 20, 22, 34, 18
INK, GREY, EDGE, MARK = (20, 20, 20), (95, 95, 95), (215, 215, 215), (230, 0, 110)
LIGHT, DARK = (255, 255, 255), (228, 228, 228)  # of the chequerboard
STEPS = ((1.0, 1.0, 1.0), (1.0, 0.82, 0.3), (0.9, 0.3, 0.1), (0.25, 0.0, 0.15))  # of a difference, small to large
LEGIBLE = 10  # pixels of the smallest writing

Box = tuple[int, int, int, int]  # top, left, bottom, right
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet; `caption` may have several lines."""

    title: str
    image: Image.Image
    caption: str = ""


BLANK = Panel("", Image.new("RGB", (1, 1), "white"))


def side_of(panels: int) -> int:
    """Pixels a side of each of some panels that are to stand side by side."""
    return min(SIDE, WIDEST // panels - GAP)


def sheet(heading: str, panels: Sequence[Panel], columns: int | None = None) -> Image.Image:
    """Panels in rows of `columns`, or of as many as fit; each column is as wide as it must be."""
    columns = columns or next(n for n in range(len(panels), 0, -1) if n == 1 or sum(_columns(panels, n)) <= WIDEST)
    widths = _columns(panels, columns)
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [_height(row) for row in rows]
    inner = max(sum(widths) - GAP, _width(heading, font_of(16)))
    image = Image.new("RGB", (inner + 2 * MARGIN, sum(heights) - GAP + 2 * MARGIN + HEAD), "white")
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN - 4), heading, INK, font_of(16))
    top = MARGIN + HEAD
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            left, below = MARGIN + sum(widths[:column]), top + _title(row)
            draw.text((left, top), panel.title, INK, font_of(14))
            image.paste(panel.image, (left, below))
            if panel is not BLANK:
                edge = (left - 1, below - 1, left + panel.image.width, below + panel.image.height)
                draw.rectangle(edge, outline=EDGE)
            for number, line in enumerate(panel.caption.splitlines()):
                draw.text((left, below + panel.image.height + 5 + LINE * number), line, GREY, font_of(13))
        top += height
    return image


def enlarged(pixels: Float[Tensor, "4 H W"], side: int = SIDE) -> Image.Image:
    """A picture on a chequerboard, made larger by a whole factor, or smaller where it is too large."""
    image = to_image(pixels)
    board = Image.alpha_composite(_chequers(image.size), image).convert("RGB")
    return _scaled(board, side)


def outlined(image: Image.Image, size: tuple[int, int], boxes: Sequence[Box]) -> Image.Image:
    """Frames around boxes that are given in the pixels of a picture of `size` (rows, columns)."""
    image = image.copy()
    draw, scale = ImageDraw.Draw(image), image.width / size[1]
    for box in boxes:
        top, left, bottom, right = (round(side * scale) for side in box)
        draw.rectangle((left, top, right - 1, bottom - 1), outline=MARK, width=2)
    return image


def differing(
    title: str, change: Float[Tensor, "H W"], side: int = SIDE, caption: str = "", boxes: Sequence[Box] = ()
) -> Panel:
    """A difference as colour: white where nothing changed, black at the largest change, which the legend gives."""
    largest = float(change.max())
    index = (change / max(largest, 1e-9)).numpy() * (len(STEPS) - 1)
    values = np.stack([np.interp(index, range(len(STEPS)), levels) for levels in zip(*STEPS, strict=True)], -1)
    image = _scaled(Image.fromarray((values * 255).round().astype(np.uint8)), side)
    legend = f"white: equal; black: {largest:.0%} apart" if largest else "white: equal"
    size = (change.shape[0], change.shape[1])
    return Panel(title, outlined(image, size, boxes), f"{legend}\n{caption}".strip())


def token_map(
    pixels: Float[Tensor, "4 H W"], colours: Float[Tensor, "h w 3"], words: Sequence[Sequence[str]]
) -> tuple[Image.Image, bool]:
    """Every token's colour over the picture, its row and column at the edges, and its lines of words if they fit.

    Also returns whether they fit.
    """
    (h, w), (_, height, width), font = colours.shape[:2], pixels.shape, font_of(LEGIBLE + 1)
    across = (max((_width(line, font) for token in words for line in token), default=0) + 6) * w
    down = (max(map(len, words)) * (LEGIBLE + 3) + 4) * h
    scale = max(SIDE / max(height, width), across / width, down / height)
    fits = any(words) and scale * max(height, width) <= WIDEST
    scale = scale if fits else max(SIDE, min(14 * max(h, w), 2 * SIDE)) / max(height, width)
    size = (max(w, round(width * scale)), max(h, round(height * scale)))
    under = Image.alpha_composite(Image.new("RGBA", (width, height), "white"), to_image(pixels)).convert("L")
    tint = Image.fromarray(colours.mul(255).round().byte().numpy()).resize(size, Image.Resampling.NEAREST)
    body = Image.blend(under.convert("RGB").resize(size, Image.Resampling.NEAREST), tint, 0.6)
    return _with_edges(_written(body, (h, w), words if fits else (), font), (h, w)), fits


def _written(body: Image.Image, grid: tuple[int, int], words: Sequence[Sequence[str]], font: Font) -> Image.Image:
    """The grid's lines and each token's words in its cell."""
    draw, (h, w), grey = ImageDraw.Draw(body), grid, np.asarray(body.convert("L"))
    for column in range(1, w if body.width >= 6 * w else 1):
        x = column * body.width // w
        draw.line((x, 0, x, body.height), (255, 255, 255))
    for row in range(1, h if body.height >= 6 * h else 1):
        y = row * body.height // h
        draw.line((0, y, body.width, y), (255, 255, 255))
    for index, lines in enumerate(words):
        left, top = index % w * body.width / w, index // w * body.height / h
        ink = INK if grey[int(top + body.height / h / 2), int(left + 3)] > 100 else LIGHT
        down = top + (body.height / h - len(lines) * (LEGIBLE + 3)) / 2
        for number, line in enumerate(lines):
            along = left + (body.width / w - _width(line, font)) / 2
            draw.text((along, down + number * (LEGIBLE + 3)), line, ink, font)
    return body


def _with_edges(body: Image.Image, grid: tuple[int, int]) -> Image.Image:
    """Row and column numbers at the edges; of many only some."""
    font, edge = font_of(12), 22
    image = Image.new("RGB", (body.width + edge, body.height + edge), "white")
    image.paste(body, (edge, edge))
    draw = ImageDraw.Draw(image)
    for count, length, across in ((grid[0], body.height, False), (grid[1], body.width, True)):
        step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if length / count * s >= 16)
        for number in range(0, count, step):
            middle = edge + (number + 0.5) * length / count
            at, anchor = ((middle, edge - 4), "ms") if across else ((edge - 5, middle), "rm")
            draw.text(at, str(number), GREY, font, anchor=anchor)
    return image


def _scaled(image: Image.Image, side: int) -> Image.Image:
    longer = max(image.size)
    if longer > 2 * side:
        return image.resize(_times(image.size, 2 * side / longer), Image.Resampling.BOX)
    return image.resize(_times(image.size, max(1, side // longer)), Image.Resampling.NEAREST)


def _times(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _chequers(size: tuple[int, int]) -> Image.Image:
    """Squares of a sixteenth of a picture."""
    square = max(1, max(size) // 16)
    across = np.arange(size[0])[None] // square + np.arange(size[1])[:, None] // square
    values = np.where((across % 2)[..., None] == 1, np.array(DARK), np.array(LIGHT)).astype(np.uint8)
    return Image.fromarray(values).convert("RGBA")


def _columns(panels: Sequence[Panel], columns: int) -> list[int]:
    """The width of each column, with the gap after it."""
    return [max(_across(panel) for panel in panels[start::columns]) + GAP for start in range(min(columns, len(panels)))]


def _across(panel: Panel) -> int:
    words = [_width(line, font_of(13)) for line in panel.caption.splitlines()]
    return max(panel.image.width, _width(panel.title, font_of(14)), *words, 0)


def _title(row: Sequence[Panel]) -> int:
    return 24 if any(panel.title for panel in row) else 0


def _height(row: Sequence[Panel]) -> int:
    return _title(row) + max(panel.image.height + LINE * len(panel.caption.splitlines()) for panel in row) + 6 + GAP


@cache
def font_of(size: int) -> Font:
    """The writing of sheets, so many pixels high."""
    return ImageFont.load_default(size)


def _width(text: str, font: Font) -> int:
    return int(font.getlength(text) + 1)
