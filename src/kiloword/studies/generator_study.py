"""The study of generators: six systems, trained on the same pictures for the same time, in one table.

Equal blocks, equal training time by throughput measured before, equal tuning: the same learning rates, guidances and
temperatures for all, chosen by other prompts than those for evaluation (Musgrave et al. 2020; Lucic et al. 2018).
A finished training leaves its settings, its figures and a strip of pictures, and the report is made of these alone: a
folder without checkpoints resumes as well.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from kiloword import checkpoint, parts
from kiloword.engine.painter import Painter
from kiloword.recipes.context import Report
from kiloword.recipes.generators import SYSTEMS, generator
from kiloword.studies.budget import DataBudget, EvaluationBudget, TrainingBudget
from kiloword.studies.generators_report import STRIP, Outcome, better, write_report
from kiloword.studies.jobs import (
    Job,
    Study,
    cached_figures,
    card_of,
    iterations_in,
    open_study,
    recipe_for,
    seconds_of,
    trained_tokenizer,
    training_for,
    with_card,
)
from kiloword.studies.names import check_chosen
from kiloword.studies.protocol import EvaluationProtocol, evaluated, protocol_for
from kiloword.studies.report_pictures import keep_strip
from kiloword.studies.throughput import duration

NAMES = tuple(SYSTEMS)


@dataclass(frozen=True)
class Budget:
    """The budget of a study, the same for all systems: `depth` blocks of `width`."""

    material: DataBudget = DataBudget()
    teaching: TrainingBudget = TrainingBudget()
    judging: EvaluationBudget = EvaluationBudget()
    width: int = 192
    depth: int = 6
    seed: int = 0

    def __post_init__(self):
        generator(NAMES[0], self.width, self.depth)


ALL_STYLES = DataBudget(7_800, 512, (), versions=8, seen=2_000_000, vocabulary=4096)
BUDGETS = {
    "quick": Budget(
        DataBudget(seen=6_400),
        TrainingBudget(minutes=2.0, best=0),
        EvaluationBudget(64, guidances=(2.0,), temperatures=(1.0,)),
    ),
    "cpu": Budget(),
    "gpu": Budget(
        ALL_STYLES,
        TrainingBudget(25.0, 256, average=0.999, save_every=500),
        EvaluationBudget(batch=256),
        width=384,
        depth=12,
    ),
}


def run(budget: Budget, data: Path, out: Path, names: Sequence[str], report: Report) -> Path:
    """Carry out all trainings that are not there yet, and write the report of all that are; its file is returned."""
    check_names(names)
    material, teaching = budget.material, budget.teaching
    study = open_study(
        out, material, settings_of(budget), data, report, seed=budget.seed, save_every=teaching.save_every
    )
    protocol = protocol_for(study.pictures, budget.judging, budget.seed)
    throughput = seconds_of(study, {name: job(study, budget, name, teaching.rates[0], 0, 1) for name in NAMES})
    tries = [(name, rate, 0) for rate in teaching.rates for name in names]
    count = len(tries) + min(teaching.best, len(names)) * (teaching.seeds - 1)
    for number, which in enumerate(tries, start=1):
        train_and_measure(study, protocol, budget, which, throughput, f"{number} of {count}")
    best = [outcome for outcome in better(finished(out))[: teaching.best] if outcome.name in names]
    again = [(outcome.name, outcome.rate, seed) for outcome in best for seed in range(1, teaching.seeds)]
    for number, which in enumerate(again, start=len(tries) + 1):
        train_and_measure(study, protocol, budget, which, throughput, f"{number} of {count}")
    facts = {**asdict(budget), "seconds_a_picture_learned": throughput, "pictures": facts_of(study, protocol)}
    with TemporaryDirectory() as blank:
        for outcome in better(finished(out)):
            save_untrained(study, budget, outcome, Path(blank))
        return write_report(out, finished(out), Path(blank), facts, protocol, report)


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError for a system that the study doesn't know, and for none at all."""
    check_chosen(names, NAMES, "system")


def settings_of(budget: Budget) -> dict[str, Any]:
    """The settings that must be equal for a study to resume: all that change a figure."""
    teaching = replace(budget.teaching, save_every=1, best=0, seeds=1)
    judging = replace(budget.judging, shown=1, rounds=1)
    return asdict(replace(budget, teaching=teaching, judging=judging))


def job(study: Study, budget: Budget, name: str, rate: float, seed: int, iterations: int) -> Job:
    """The training of a system at a learning rate from a seed."""
    teaching, stage = budget.teaching, f"{name} at {rate:g}" + (f", seed {seed}" if seed else "")
    training = training_for(study, iterations, teaching.batch, rate, average=teaching.average, seed=budget.seed + seed)
    recipe = recipe_for(study, name, generator(name, budget.width, budget.depth), training)
    return Job(recipe, SYSTEMS[name].sort, study.out / "runs" / f"{name}-{rate:g}-{seed}", stage)


def train_and_measure(
    study: Study, protocol: EvaluationProtocol, budget: Budget, which: tuple[str, float, int],
    throughput: dict[str, float], progress: str,
) -> None:  # fmt: skip
    """One training and its figures, resumed from what is on disk."""
    name, rate, seed = which
    iterations = iterations_in(budget.teaching.minutes, throughput[name], budget.teaching.batch)
    wanted = job(study, budget, name, rate, seed, iterations)
    wanted = replace(wanted, stage=f"{wanted.stage} ({progress})")

    def figures(painter: Painter) -> dict[str, Any]:
        found = evaluated(protocol, painter, wanted.stage, study.report)
        drawing = {name: found["chosen"][name] for name in ("guidance", "temperature")}
        keep_strip(wanted.folder / STRIP, protocol.drawn(with_card(painter, **drawing), protocol.shown))
        return {
            "name": name, "rate": rate, "seed": seed, "seen": iterations * budget.teaching.batch,
            "training": duration(wanted.folder / "model", budget.teaching.batch),
            "tokenizer_weights": checkpoint.fingerprint(trained_tokenizer(study, wanted.sort) / "checkpoint"),
            **found,
        }  # fmt: skip

    cached_figures(study, wanted, figures)


def save_untrained(study: Study, budget: Budget, outcome: Outcome, folder: Path) -> None:
    """Save an untrained checkpoint of a system: drawing costs as much as with a trained one."""
    recipe = job(study, budget, outcome.name, outcome.rate, outcome.seed, 1).recipe
    torch.manual_seed(budget.seed)
    checkpoint.save(folder / outcome.name, parts.build(recipe.model), card_of(study, recipe), recipe.model)


def finished(out: Path) -> list[Outcome]:
    """All finished trainings in a study's folder."""
    found = []
    for path in sorted((out / "runs").glob("*/figures.json")):
        figures = json.loads(path.read_text())
        found.append(Outcome(figures["name"], figures["rate"], figures["seed"], path.parent, figures))
    return found


def facts_of(study: Study, protocol: EvaluationProtocol) -> dict[str, Any]:
    """The numbers of pictures for training and evaluation."""
    pictures = study.pictures
    return {
        "learned": int(pictures.weights.sum()), "held_out": len(pictures.held_out), "choosing": len(protocol.choosing),
        "judging": {split: len(indices) for split, indices in protocol.judging.items()}, "others": len(protocol.others),
    }  # fmt: skip
