"""The plots of the study of generators: quality against cost, accuracy, and distance to training pictures.

Quality against cost as in Dehghani et al. 2021 (The Efficiency Misnomer), with the intervals that hold it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kiloword.studies.protocol import SPACE

SPLITS = {"train": "learned", "held_out": "held-out pair", "held_out_subject": "held-out subject"}
Line = dict[str, Any]


def draw_plots(path: Path, lines: Sequence[Line]) -> None:
    """Four plots; a colour is a system in the upper ones."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(figure)
    (drawing, learning), (accuracy, nearest) = figure.subplots(2, 2)
    against(drawing, lines, lambda line: line["cost"]["seconds"]["16"], "seconds a picture, 16 at once")
    against(learning, lines, lambda line: line["learned_a_second"], "pictures a second in training")
    bars(accuracy, lines, accuracies, "subject accuracy, nearest picture (ticks: the tokenizer's own pictures)")
    bars(nearest, lines, distances, "distance to the nearest picture learned (ticks: true pictures)")
    figure.legend(*drawing.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    temporary = path.with_name(f".{path.name}.part")
    figure.savefig(temporary, format="png", dpi=110)
    temporary.replace(path)


def against(axes: Any, lines: Sequence[Line], of: Callable[[Line], float], what: str) -> None:
    """Kernel distance against a cost, with its interval."""
    for number, line in enumerate(lines):
        distance = line["kernel_distance"][SPACE]
        low, high = (abs(distance["value"] - distance[end]) * 1000 for end in ("low", "high"))
        axes.errorbar(
            of(line), distance["value"] * 1000, [[low], [high]], fmt="o", color=f"C{number}", label=line["name"]
        )
    axes.set_xscale("log")
    axes.set_xlabel(what)
    axes.set_ylabel(f"kernel distance, {SPACE} (times 1,000)")


def bars(axes: Any, lines: Sequence[Line], of: Callable[[Line, str], tuple[float, float]], what: str) -> None:
    """For every system a bar for each split, and a tick at its reference value."""
    splits = [split for split in SPLITS if any(split in line["accuracy"] for line in lines)]
    for i, split in enumerate(splits):
        found = [of(line, split) for line in lines]
        x = [number + 0.8 * (i + 0.5) / len(splits) - 0.4 for number in range(len(lines))]
        axes.bar(x, [bar for bar, _ in found], 0.75 / len(splits), color=f"C{6 + i}", label=SPLITS[split])
        axes.plot(x, [tick for _, tick in found], "_", color="black", markersize=12)
    axes.set_xticks(range(len(lines)), [line["name"].replace("-", "\n") for line in lines], fontsize=8)
    axes.set_title(what, fontsize=9)
    axes.legend(fontsize=8)


def accuracies(line: Line, split: str) -> tuple[float, float]:
    return line["accuracy"][split]["top1"], line["ceiling"][split]["top1"]


def distances(line: Line, split: str) -> tuple[float, float]:
    figures = line["memorisation"][split]
    return figures["distance"]["p50"], figures["true_picture_distance"]["p50"]
