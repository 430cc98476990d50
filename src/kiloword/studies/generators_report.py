"""The report of the study of generators: tables, plots, findings and their limits, and a sheet of pictures.

Source: Pineau et al. 2020 (Improving Reproducibility in Machine Learning Research) on what to report;
Agarwal et al. 2021 (Deep Reinforcement Learning at the Edge of the Statistical Precipice) on intervals for few runs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kiloword.data.shards import replace_file
from kiloword.engine.painter import Painter
from kiloword.evaluation.feature_spaces import MEANING, SPACES
from kiloword.recipes.context import Report
from kiloword.recipes.generators import SYSTEMS
from kiloword.studies import cost
from kiloword.studies.generators_plot import draw_plots
from kiloword.studies.generators_words import text
from kiloword.studies.jobs import painter_of
from kiloword.studies.protocol import SPACE, EvaluationProtocol
from kiloword.studies.report_pictures import draw_sheet, read_strip

FORMAT = 1
STRIP = "drawn.webp"  # the pictures that a trained system draws for the sheet's prompts


@dataclass(frozen=True)
class Outcome:
    """A finished training: system, learning rate, seed, folder and figures."""

    name: str
    rate: float
    seed: int
    folder: Path
    figures: dict[str, Any]

    @property
    def distance(self) -> float:
        """The kernel distance with the prompts for choosing, by which the best is chosen."""
        return self.figures["chosen"]["kernel_distance"]

    @property
    def settings(self) -> dict[str, float]:
        """The chosen settings for drawing."""
        return {name: self.figures["chosen"][name] for name in ("guidance", "temperature")}


def better(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Of the trainings of each system from the first seed, the one at the better learning rate, the best first."""
    best: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.seed == 0 and (outcome.name not in best or outcome.distance < best[outcome.name].distance):
            best[outcome.name] = outcome
    return sorted(best.values(), key=lambda outcome: outcome.distance)


def write_report(
    out: Path, outcomes: Sequence[Outcome], blank: Path, facts: dict[str, Any], protocol: EvaluationProtocol,
    report: Report,
) -> Path:  # fmt: skip
    """report.md, report.json, plot.png and sheet.png of all that is finished; the first is returned.

    `blank` holds a checkpoint of each system, by name, to measure the cost of drawing.
    """
    order = list(SYSTEMS)
    best = sorted(better(outcomes), key=lambda outcome: order.index(outcome.name))
    painters = {outcome.name: painter_of(blank / outcome.name, **outcome.settings) for outcome in best}
    prompts = protocol.prompts(next(iter(painters.values())), protocol.judged)
    costs = costs_of(out / "costs.json", best, blank, painters, prompts, protocol.settings.rounds, report)
    lines, drawn = [], {"true": protocol.image_set.pixels[protocol.shown]}
    for outcome in best:
        measured = 1 / facts["seconds_a_picture_learned"][outcome.name]
        lines.append({**line(outcome, outcomes), "cost": costs[outcome.name], "learned_a_second": measured})
        parts = "\nx ".join(SYSTEMS[outcome.name].parts.split(" x "))
        drawn[parts] = read_strip(outcome.folder / STRIP)
    whole = {
        "format": FORMAT, "budget": facts, "device": str(painters[best[0].name].device), "feature_spaces": MEANING,
        "space": SPACE, "sheet": protocol.prompts(painters[best[0].name], protocol.shown), "systems": lines,
        "runs": [{**outcome.figures} for outcome in outcomes],
    }  # fmt: skip
    replace_file(out / "report.json", (json.dumps(whole, indent=1) + "\n").encode())
    draw_plots(out / "plot.png", lines)
    draw_sheet(out / "sheet.png", drawn)
    replace_file(out / "report.md", text(lines, whole).encode())
    return out / "report.md"


def costs_of(
    path: Path, best: Sequence[Outcome], blank: Path, painters: dict[str, Painter], prompts: Sequence[str],
    rounds: int, report: Report,
) -> dict[str, Any]:  # fmt: skip
    """The cost of drawing with each system, measured alternately and kept until the best trainings change."""
    of = {outcome.name: [outcome.folder.name, outcome.settings] for outcome in best}
    if path.exists() and (known := json.loads(path.read_text()))["of"] == of:
        return known["costs"]
    report("costs measured", 0, len(best), {})
    taken, found = cost.seconds(painters, prompts, rounds), {}
    for number, outcome in enumerate(best, start=1):
        found[outcome.name] = {
            "passes": cost.passes(painters[outcome.name], prompts[0]),
            "seconds": taken[outcome.name],
            "memory_mb": cost.memory(blank / outcome.name, outcome.settings, prompts[0]),
        }
        report("costs measured", number, len(best), {})
    replace_file(path, json.dumps({"of": of, "costs": found}, indent=1).encode())
    return found


def line(outcome: Outcome, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """A system's figures, with the kernel distance at every learning rate and from every seed."""
    same = [other for other in outcomes if other.name == outcome.name]
    return {
        **outcome.figures,
        "parts": SYSTEMS[outcome.name].parts,
        "tokenizer": SYSTEMS[outcome.name].sort,
        "rates": {f"{other.rate:g}": other.distance for other in same if other.seed == 0},
        "seeds": {
            str(other.seed): {space: other.figures["kernel_distance"][space]["value"] for space in SPACES}
            for other in same
            if other.rate == outcome.rate
        },
    }
