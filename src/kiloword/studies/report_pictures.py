"""The pictures of a report: bits against PSNR, and originals above what each tokenizer makes of them.

The plot is that of rate against distortion (Shannon 1959), rate on a logarithmic scale.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from kiloword.data.shards import replace_file
from kiloword.evaluation.sheet import contact_sheet
from kiloword.pixels import from_bytes

# Axes: b pictures, S pixels a side.

MARGIN = 150  # pixels left of the sheet, for names
NEARLY = 1.12  # numbers of bits that stand in one column of the plot
APART = 0.035  # how far names are apart in it, a share of the range
CONTINUOUS = 1.6  # continuous tokens are plotted at so many times the largest number of bits


def draw_plot(path: Path, rows: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]]) -> None:
    """A point and a name a tokenizer; grey points are the other learning rates, a line is a tokenizer without bits."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    largest = max((line["bits"] or 0 for line in runs), default=0) or 1
    for line in runs:
        axes.plot(line["bits"] or largest * CONTINUOUS, line["psnr"], "o", color="0.8", markersize=4, zorder=1)
    points = [(line["bits"] or largest * CONTINUOUS, line["psnr"]) for line in rows]
    for line, (bits, psnr), height in zip(rows, points, heights(points), strict=True):
        if line["bits"] is None:
            axes.axhline(psnr, color="0.85", linewidth=1, zorder=0)
        marker = "s" if line["name"].endswith("-cnn") else "o"
        axes.plot(bits, psnr, marker, color="C1" if marker == "s" else "C0", zorder=2)
        axes.annotate(line["name"], (bits, height), xytext=(7, -3), textcoords="offset points", fontsize=9)
    axes.set_xscale("log")
    ticks = [column[-1] for column in columns(sorted(round(line["bits"]) for line in rows if line["bits"]))]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8)
    axes.minorticks_off()
    axes.set_xlabel("bits a picture (continuous tokens: at the right edge)")
    axes.set_ylabel("PSNR of held-out pictures in dB")
    axes.margins(x=0.15)
    temporary = path.with_name(f".{path.name}.part")
    figure.savefig(temporary, format="png", dpi=120)
    temporary.replace(path)


def heights(points: Sequence[tuple[float, float]]) -> list[float]:
    """Where the name of each point stands: at the point, or above the name below it."""
    psnrs = [psnr for _, psnr in points] or [0.0]
    gap = max(0.1, (max(psnrs) - min(psnrs)) * APART)
    found: dict[tuple[float, float], float] = {}
    for column in columns(sorted({bits for bits, _ in points})):
        last = float("-inf")
        for point in sorted((point for point in points if point[0] in column), key=lambda point: point[1]):
            last = found[point] = max(point[1], last + gap)
    return [found[point] for point in points]


def columns(values: Sequence[float]) -> list[list[float]]:
    """Sorted numbers, those together that are nearly equal."""
    found: list[list[float]] = []
    for value in values:
        if found and value < found[-1][0] * NEARLY:
            found[-1].append(value)
        else:
            found.append([value])
    return found


def keep_strip(path: Path, pictures: UInt8[Tensor, "b 4 S S"]) -> None:
    """Pictures side by side in a lossless file."""
    side_by_side = rearrange(pictures, "b c h w -> h (b w) c").cpu().numpy()
    made = BytesIO()
    Image.fromarray(side_by_side).save(made, format="WEBP", lossless=True, exact=True)
    replace_file(path, made.getvalue())


def read_strip(path: Path) -> UInt8[Tensor, "b 4 S S"]:
    """The pictures of a strip, which are square."""
    with Image.open(path) as strip:
        return rearrange(torch.from_numpy(np.array(strip.convert("RGBA"))), "h (b w) c -> b c h w", w=strip.height)


def draw_sheet(path: Path, lines: dict[str, UInt8[Tensor, "b 4 S S"]]) -> None:
    """A row of pictures a line, its name on the left."""
    sheets = [contact_sheet(from_bytes(pictures), columns=len(pictures)) for pictures in lines.values()]
    height, width = sheets[0].height, sheets[0].width
    whole = Image.new("RGB", (MARGIN + width, height * len(sheets)), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default()
    for number, (name, sheet) in enumerate(zip(lines, sheets, strict=True)):
        whole.paste(sheet, (MARGIN, number * height))
        pen.multiline_text((6, number * height + height // 3), name, fill="black", font=font)
    temporary = path.with_name(f".{path.name}.part")
    whole.save(temporary, format="PNG")
    temporary.replace(path)
