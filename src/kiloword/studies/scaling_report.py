"""The report of the study of scaling: losses of all sizes, the fitted laws, a prediction beside the measured loss.

Plots as those of Kaplan et al. 2020 (Scaling Laws for Neural Language Models), logarithmic in size and compute.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kiloword.data.shards import replace_file
from kiloword.studies.generators_words import grid, margin
from kiloword.studies.power_law import Interval, Law, frontier
from kiloword.studies.protocol import SPACE

UNITS = {"parameters": "parameters in blocks", "compute": "compute, 6 x parameters x tokens seen"}


def write_report(out: Path, facts: dict[str, Any], laws: dict[str, Law]) -> Path:
    """report.md, report.json and plot.png; the first is returned."""
    numbers = {
        name: {**{what: asdict(interval) for what, interval in law.numbers.items()}, "spread": law.spread}
        for name, law in laws.items()
    }
    whole = {"format": 1, **facts, "laws": numbers}
    replace_file(out / "report.json", (json.dumps(whole, indent=1) + "\n").encode())
    draw_plots(out / "plot.png", facts, laws)
    replace_file(out / "report.md", text(facts, laws).encode())
    return out / "report.md"


def text(facts: dict[str, Any], laws: dict[str, Law]) -> str:
    """The report in Markdown."""
    budget, pictures = facts["budget"], facts["pictures"]
    return "\n".join([
        f"# Loss against size and compute: {facts['system']}",
        "",
        f"{pictures['learned']:,} pictures to learn, {pictures['held_out']:,} held out, one tokenizer. All sizes have "
        f"one learning rate, {budget['teaching']['rates'][0]:g}, with Muon, whose steps have the same root mean square "
        "whatever the size of a matrix (Liu et al. 2025): a rule that is adopted, not tested here. Each training has "
        "a schedule of its own.",
        "",
        "## Losses",
        "",
        *grid([point_cells(point) for point in [*facts["points"], facts["truth"]]]),
        "",
        "Nats a token, given the prompt. Where the loss is higher on held-out pictures than on training ones, the "
        "model has memorised pictures, and more parameters need not help.",
        "",
        "## Laws",
        "",
        *law_lines(laws),
        "",
        "![Losses and laws](plot.png)",
        "",
        "## Predicted and measured",
        "",
        *prediction_lines(facts["prediction"], facts["truth"]["held_out"], laws),
        "",
        "## Does describing help drawing?",
        "",
        f"One model of {budget['both']}, trained for {budget['teaching']['minutes']:g} minutes at the throughput "
        "measured before: to draw, to describe, or both by halves. Draw: nats a token; text: nats a description; both "
        "of held-out pictures.",
        "",
        *grid([way_cells(way) for way in facts["ways"]]),
        "",
        *helped(facts["ways"]),
    ]) + "\n"  # fmt: skip


def point_cells(point: dict[str, Any]) -> dict[str, str]:
    return {
        "size": point["size"],
        "M parameters": f"{point['parameters'] / 1e6:.2f}",
        "pictures seen": f"{point['seen']:,}",
        "compute": f"{point['compute']:.2e}",
        "held out": f"{point['held_out']:.4f}",
        "learned": f"{point['learned']:.4f}",
    }


def between(interval: Interval) -> str:
    """An interval in words."""
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f} [too few points to tell]"
    return f"{interval.value:.3f} [{interval.low:.3f} to {interval.high:.3f}]"


def law_lines(laws: dict[str, Law]) -> list[str]:
    """The laws, and their intervals."""
    found = []
    for name, law in laws.items():
        numbers = law.numbers
        found.append(
            f"- In {UNITS[name]}: a floor of {between(numbers['floor'])}, above it a power with the exponent "
            f"{between(numbers['exponent'])}; trainings lie {law.spread:.4f} off it."
        )
    if "compute" not in laws:
        found.append("- In compute: too few trainings are the best of their compute.")
    return [*found, "", "Intervals hold 95%, of least squares, linear around the fit; that in compute goes through the"
            " best training of each compute."]  # fmt: skip


def prediction_lines(prediction: dict[str, Any], truth: float, laws: dict[str, Law]) -> list[str]:
    """The predictions for the larger model, beside its measured loss."""
    found = []
    for name, limits in prediction["loss"].items():
        interval = Interval(**limits)
        held = interval.holds(truth)
        verdict = "which cannot be judged" if held is None else "which holds it" if held else "which does not hold it"
        found.append(
            f"- {prediction['size']} from {UNITS[name]}: predicted {between(interval)}, {verdict}; measured "
            f"{truth:.3f} ({truth - interval.value:+.3f})."
        )
    return [*found, "", "prediction.json was written before that training was begun."]


def way_cells(way: dict[str, Any]) -> dict[str, str]:
    """A line of the table of ways; empty for what a model was not trained on."""
    cells = {"trained": way["way"], "seed": f"{way['seed']}", "pictures seen": f"{way['seen']:,}"}
    cells["draw"] = f"{way['held_out']:.4f}" if "held_out" in way else ""
    distance = way.get("kernel_distance", {}).get(SPACE)
    cells["kernel distance"] = "" if distance is None else (
        f"{1000 * distance['value']:.0f} [{1000 * distance['low']:.0f} to {1000 * distance['high']:.0f}]"
    )  # fmt: skip
    split = way.get("accuracy", {}).get("held_out")
    cells["held-out pairs, top 1"] = "" if split is None else (
        f"{split['top1']:.0%}, give or take {margin(split['top1'], split['n']):.0%}"
    )  # fmt: skip
    cells["text"] = f"{way['text, held_out']:.3f}" if "text, held_out" in way else ""
    cells["right descriptions"] = f"{way['right, held_out']:.0%}" if "right, held_out" in way else ""
    return cells


def helped(ways: Sequence[dict[str, Any]]) -> list[str]:
    """How training on both changes each loss, beside the spread of seeds."""
    found = []
    for alone, name, what in (
        ("drawing alone", "held_out", "Drawing"),
        ("describing alone", "text, held_out", "Describing"),
    ):
        one, both = ([way[name] for way in ways if way["way"] == which] for which in (alone, "both"))
        apart = max(max(values) - min(values) for values in (one, both))
        change = float(np.mean(both) - np.mean(one))
        word = "lower" if change < 0 else "higher"
        sure = "one seed cannot say whether that means anything"
        if len(one) > 1:
            more = "more" if abs(change) > apart else "no more"
            sure = f"{more} than seeds of one way lie apart ({apart:.4f})"
        found.append(f"- {what}: the loss of both is {abs(change):.4f} {word} than {alone}; {sure}.")
    return found


def draw_plots(path: Path, facts: dict[str, Any], laws: dict[str, Law]) -> None:
    """Loss against parameters and against compute: points, laws, and the predicted loss beside the measured one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    best = {compute for compute, _ in frontier([(p["compute"], p["held_out"]) for p in facts["points"]])}
    for axes, name in zip(figure.subplots(1, 2), UNITS, strict=True):
        for point in facts["points"]:
            used = point["share"] == 1 if name == "parameters" else point["compute"] in best
            axes.plot(point[name], point["held_out"], "o", color="C0" if used else "0.8")
        if name in laws:
            ends = [point[name] for point in [*facts["points"], facts["truth"]]]
            line = np.geomspace(min(ends), max(ends), 100)
            axes.plot(line, [laws[name].at(float(x)) for x in line], color="C0", linewidth=1)
            predicted = Interval(**facts["prediction"]["loss"][name])
            if predicted.low is not None and predicted.high is not None:
                axes.plot([facts["prediction"][name]] * 2, [predicted.low, predicted.high], color="C1", linewidth=2)
            axes.plot(facts["prediction"][name], predicted.value, "_", color="C1", markersize=14, label="predicted")
        axes.plot(facts["truth"][name], facts["truth"]["held_out"], "x", color="C3", label="measured")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(UNITS[name])
        axes.set_ylabel("nats a token, held out")
        axes.legend()
    temporary = path.with_name(f".{path.name}.part")
    figure.savefig(temporary, format="png", dpi=110)
    temporary.replace(path)
