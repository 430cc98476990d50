"""The report of the study of decoders: a table of each kind of setting, a plot, pictures side by side, and a strip.

The layout is defined here. Karras et al. 2022 (Elucidating the Design Space of Diffusion-Based Generative Models) for
quality against network calls.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from kiloword.data.shards import replace_file
from kiloword.evaluation import details, feature_spaces
from kiloword.studies.report_pictures import draw_sheet

# Axes: b pictures, S pixels a side.

NARROWEST = 0.1  # of the mean spread of features: none counts as narrower
AIM = 1.25  # of a few-step distance to the many-step one
MANY = "16 steps"
MEANING = {"gradients": feature_spaces.MEANING["gradients"], "details": details.MEANING}

# The resemblance of each strip to what is known of 4o, and why it proves nothing.
RESEMBLES = {
    "one by one": "Parts are final one after the other and nothing is seen below them, as in the top-down reveal of "
    "4o's web page; but that reveal is an animation of the page over whole pictures, so it tells of the page.",
    "overlapping": "A soft edge moves down, as of rolling or groupwise diffusion (the public guess that 4o's decoder "
    "is one); but 4o's pictures on the way show an outline everywhere, and parts above the edge still change in them.",
    "overlapping, on a glance": "A rough whole outline is there at once and sharpens from the top, which is what 4o's "
    "pictures on the way look like; but a draft grid, raster tokens with previews, or several scales look so too, and "
    "three to five pictures that a server chose to send cannot tell these apart.",
    "all at once, on a glance": "All of it changes until the end, most of it late, as parts of 4o's pictures do that "
    "seemed done; but a clean-up after autoregression does the same, and so does anything that draws twice.",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A setting in one of the tables, and its figures."""

    table: str
    name: str
    figures: dict[str, Any]


def write_report(
    out: Path, rows: Sequence[Row], facts: dict[str, Any], sheet: dict[str, UInt8[Tensor, "b 4 S S"]],
    strips: dict[str, UInt8[Tensor, "_ 4 S S"]],
) -> Path:  # fmt: skip
    """report.md, report.json, plot.png, sheet.png and strip.png; the first is returned."""
    settings = [{"table": row.table, "name": row.name, **row.figures} for row in rows]
    whole = {**facts, "feature_spaces": MEANING, "few_against_many": against_many(rows), "settings": settings}
    replace_file(out / "report.json", (json.dumps(whole, indent=1) + "\n").encode())
    draw_plot(out / "plot.png", rows)
    draw_sheet(out / "sheet.png", {name.replace(", ", ",\n"): pictures for name, pictures in sheet.items()})
    if strips:
        draw_sheet(out / "strip.png", {name.replace(", ", ",\n"): pictures for name, pictures in strips.items()})
    replace_file(out / "report.md", text(rows, facts, list(strips)).encode())
    return out / "report.md"


def against_many(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """Kernel distances of few steps over that of many, in each space; None where many steps are at no distance."""
    distances = {row.name: row.figures["kernel_distance"] for row in rows if row.table == "Steps"}
    if MANY not in distances:
        return {}
    return {
        few: {
            space: distances[few][space]["value"] / many["value"] if many["value"] > 0 else None
            for space, many in distances[MANY].items()
        }
        for few in ("1 step", "4 steps")
        if few in distances
    }


def text(rows: Sequence[Row], facts: dict[str, Any], strips: Sequence[str]) -> str:
    """The report in Markdown."""
    blocks = []
    for table in dict.fromkeys(row.table for row in rows):
        lines = [cells(row) for row in rows if row.table == table]
        heads = list(lines[0])
        grid = [heads, ["---", *["--:"] * (len(heads) - 1)], *[list(line.values()) for line in lines]]
        blocks += [f"## {table}", "", *["| " + " | ".join(line) + " |" for line in grid], ""]
    return "\n".join([
        f"# Ways from the tokens of {facts['model']} to pixels",
        "",
        f"{facts['pictures']} held-out pictures of {facts['side']}x{facts['side']} pixels, each encoded at "
        f"{facts['token_side']}x{facts['token_side']} to its {facts['tokens']} tokens. All ways get these tokens, and "
        f"all decodings of a picture the same noise. Steps are those of a group: {facts['steps']} where not said "
        "otherwise, Euler, no guidance.",
        "",
        *meaning(facts),
        "",
        *blocks,
        "## Few steps against many",
        "",
        *few(rows),
        "",
        "## Pictures",
        "",
        "![Quality against network calls](plot.png)",
        "",
        "![True pictures and what is made of their tokens](sheet.png)",
        "",
        *strip_lines(strips),
        *[f"Left out: {name} ({reason})." for name, reason in facts["left_out"].items()],
    ]) + "\n"  # fmt: skip


def meaning(facts: dict[str, Any]) -> list[str]:
    """The meaning of the columns."""
    spaces = [f"*{name}* ({what})" for name, what in MEANING.items()]
    return [
        "PSNR (dB) and SSIM on white, means over pictures. Kernel distance: unbiased squared MMD times 1,000 with the",
        "kernel (x y / d + 1)^3, and its 95% bootstrap interval, between the pictures and the true ones, in the spaces",
        f"{' and '.join(spaces)}; features in units of the spread of {facts['others']} pictures not held out,",
        f"none of them taken for narrower than {NARROWEST:.0%} of their mean.",
        "Sharpness: the mean squared Laplacian on white over that of the true pictures; it counts noise as well.",
        "Calls: of the network, one for what is decoded at once. The glance of a decoder with a sketch is that sketch.",
        f"Seconds a picture in batches of 32 on {facts['device']}, on a machine that may be busy.",
        "With overlap 0, or one group, all groups work at once: this was drawn once only.",
    ]


def few(rows: Sequence[Row]) -> list[str]:
    """Whether few steps are as good as many."""
    found = against_many(rows)
    if not found:
        return ["Not all numbers of steps were measured."]
    lines = [f"Kernel distances over those of {MANY}; the aim is {AIM - 1:.0%} more at most.", ""]
    for name, ratios in found.items():
        for space, ratio in ratios.items():
            if ratio is None:
                lines.append(f"- {name}, {space}: cannot be said, as {MANY} are at no distance that can be measured.")
                continue
            lines.append(f"- {name}, {space}: {ratio:.2f}, {'' if ratio <= AIM else 'not '}within {AIM - 1:.0%}.")
    return lines


def strip_lines(strips: Sequence[str]) -> list[str]:
    """The strip, and a line on each of its settings."""
    if not strips:
        return []
    return [
        "![The steps of a picture in several settings](strip.png)",
        "",
        "First the canvas under the picture, empty or the glance, then the predicted picture after each step.",
        "",
        *[f"- *{name}*: {RESEMBLES[name]}" for name in strips],
        "",
    ]


def cells(row: Row) -> dict[str, str]:
    """A line of a table as Markdown."""
    figures, near = row.figures, {}
    for space, distance in row.figures["kernel_distance"].items():
        value, low, high = (1000 * distance[name] for name in ("value", "low", "high"))
        near[space] = f"{value:.1f} [{low:.1f} to {high:.1f}]"
    return {
        "": row.name,
        "PSNR": f"{figures['psnr']:.2f}",
        "SSIM": f"{figures['ssim']:.3f}",
        **near,
        "sharpness": f"{figures['sharpness']:.2f}",
        "calls": f"{figures['calls']}",
        "s a picture": f"{figures['seconds']:.3f}",
    }


# What is plotted: its name, and where it is found in the figures.
PLOTTED = {
    "PSNR in dB": lambda figures: figures["psnr"],
    "sharpness over that of true pictures": lambda figures: figures["sharpness"],
    "kernel distance, gradients (times 1,000)": lambda figures: 1000 * figures["kernel_distance"]["gradients"]["value"],
    "kernel distance, details (times 1,000)": lambda figures: 1000 * figures["kernel_distance"]["details"]["value"],
}  # fmt: skip


def draw_plot(path: Path, rows: Sequence[Row]) -> None:
    """Quality against network calls: a colour a table, a line through the steps, dashes for the tokenizer's own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    FigureCanvasAgg(figure)
    tables = list(dict.fromkeys(row.table for row in rows))
    ticks = [2**power for power in range(max(row.figures["calls"] for row in rows).bit_length())]
    for axes, (what, of) in zip(figure.subplots(2, 2).flat, PLOTTED.items(), strict=True):
        for row in rows:
            if row.name.startswith("tokenizer's own"):
                style = "--" if "bilinear" in row.name else ":"
                axes.axhline(of(row.figures), color="0.5", linestyle=style, linewidth=1, label=row.name)
        for number, table in enumerate(tables):
            here = [row for row in rows if row.table == table and not row.name.startswith("tokenizer's own")]
            points = [(row.figures["calls"], of(row.figures)) for row in here]
            line = "-" if table == "Steps" else ""
            label = here[0].name if table == "At once" else table
            axes.plot(*zip(*points, strict=True), marker="o", linestyle=line, color=f"C{number}", label=label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=8)
        axes.minorticks_off()
        axes.set_xlabel("network calls")
        axes.set_title(what, fontsize=10)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    temporary = path.with_name(f".{path.name}.part")
    figure.savefig(temporary, format="png", dpi=110)
    temporary.replace(path)
