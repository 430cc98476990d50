"""The plot of a run: every figure of losses.jsonl over the iterations, one small panel each."""

import json
from pathlib import Path

SKIPPED = {"iteration", "rate", "gradient"}


def read_losses(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """The iterations and values of each figure; a line that a crash cut short is passed over.

    A run that was resumed logs some iterations twice: the later line counts.
    """
    figures: dict[str, dict[int, float]] = {}
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        for name in record.keys() - SKIPPED:
            figures.setdefault(name, {})[record["iteration"]] = record[name]
    return {name: (sorted(values), [values[i] for i in sorted(values)]) for name, values in sorted(figures.items())}


def plot_losses(path: Path, picture: Path) -> None:
    """Draw the figures of `path` (losses.jsonl) into `picture`; a figure and its held-out twin share a panel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figures = read_losses(path)
    panels = sorted({name.removeprefix("held_out_") for name in figures})
    canvas = Figure(figsize=(4.5 * max(1, len(panels)), 3.2), layout="constrained")
    FigureCanvasAgg(canvas)
    for index, panel in enumerate(panels):
        axes = canvas.add_subplot(1, len(panels), index + 1)
        for name in (panel, f"held_out_{panel}"):
            if name in figures:
                axes.plot(*figures[name], label=name, linewidth=1)
        axes.set_xlabel("iteration")
        axes.legend(frameon=False, fontsize=8)
    temporary = picture.with_name(f".{picture.name}.part")
    canvas.savefig(temporary, format="png", dpi=110)
    temporary.replace(picture)
