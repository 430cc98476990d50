"""The study of generators: six ways of drawing, taught the same pictures for the same time, in one honest table.

Equal blocks, equal time of training as measured before, and equal tuning: the same learning rates, guidances and
temperatures for all, chosen by other prompts than those that judge. Musgrave et al. 2020 and Lucic et al. 2018 on why.
A finished training leaves its settings, its figures and a strip of pictures, and the report is made of these alone: a
folder without checkpoints, as a repository keeps it, goes on as well.
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
from kiloword.recipes.generators import SYSTEMS, generator
from kiloword.recipes.model_run import Report
from kiloword.studies.budget import Judging, Material, Teaching
from kiloword.studies.generators_report import STRIP, Outcome, better, write_report
from kiloword.studies.jobs import (
    Job,
    Study,
    card_of,
    iterations_in,
    kept,
    opened,
    recipe_for,
    seconds_of,
    taught_tokenizer,
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
    """How much a study may use of everything, the same for all systems: `depth` blocks of `width`."""

    material: Material = Material()
    teaching: Teaching = Teaching()
    judging: Judging = Judging()
    width: int = 192
    depth: int = 6
    seed: int = 0

    def __post_init__(self):
        generator(NAMES[0], self.width, self.depth)


ALL_STYLES = Material(7_800, 512, (), versions=8, seen=2_000_000, vocabulary=4096)
BUDGETS = {
    "quick": Budget(
        Material(seen=6_400), Teaching(minutes=2.0, best=0), Judging(64, guidances=(2.0,), temperatures=(1.0,))
    ),
    "cpu": Budget(),
    "gpu": Budget(
        ALL_STYLES, Teaching(25.0, 256, average=0.999, save_every=500), Judging(batch=256), width=384, depth=12
    ),
}


def run(budget: Budget, data: Path, out: Path, names: Sequence[str], report: Report) -> Path:
    """Carry out all trainings that are not there yet, and write the report of all that are; its file is returned."""
    check_names(names)
    material, teaching = budget.material, budget.teaching
    study = opened(
        out, material, settings_of(budget), data, report, seed=budget.seed, save_every=teaching.save_every
    )
    protocol = protocol_for(study.pictures, budget.judging, budget.seed)
    throughput = seconds_of(study, {name: job(study, budget, name, teaching.rates[0], 0, 1) for name in NAMES})
    tries = [(name, rate, 0) for rate in teaching.rates for name in names]
    count = len(tries) + min(teaching.best, len(names)) * (teaching.seeds - 1)
    for number, which in enumerate(tries, start=1):
        learned(study, protocol, budget, which, throughput, f"{number} of {count}")
    best = [outcome for outcome in better(finished(out))[: teaching.best] if outcome.name in names]
    again = [(outcome.name, outcome.rate, seed) for outcome in best for seed in range(1, teaching.seeds)]
    for number, which in enumerate(again, start=len(tries) + 1):
        learned(study, protocol, budget, which, throughput, f"{number} of {count}")
    facts = {**asdict(budget), "seconds_a_picture_learned": throughput, "pictures": facts_of(study, protocol)}
    with TemporaryDirectory() as blank:
        for outcome in better(finished(out)):
            untaught(study, budget, outcome, Path(blank))
        return write_report(out, finished(out), Path(blank), facts, protocol, report)


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError for a system that the study doesn't know, and for none at all."""
    check_chosen(names, NAMES, "system")


def settings_of(budget: Budget) -> dict[str, Any]:
    """What must stay the same when a study is gone on with: all but what changes no figure."""
    teaching = replace(budget.teaching, save_every=1, best=0, seeds=1)
    judging = replace(budget.judging, shown=1, rounds=1)
    return asdict(replace(budget, teaching=teaching, judging=judging))


def job(study: Study, budget: Budget, name: str, rate: float, seed: int, iterations: int) -> Job:
    """The training of a system at a learning rate from a seed."""
    teaching, stage = budget.teaching, f"{name} at {rate:g}" + (f", seed {seed}" if seed else "")
    training = training_for(
        study, iterations, teaching.batch, rate, average=teaching.average, seed=budget.seed + seed
    )
    recipe = recipe_for(study, name, generator(name, budget.width, budget.depth), training)
    return Job(recipe, SYSTEMS[name].sort, study.out / "runs" / f"{name}-{rate:g}-{seed}", stage)


def learned(
    study: Study, protocol: EvaluationProtocol, budget: Budget, which: tuple[str, float, int],
    throughput: dict[str, float], place: str,
) -> None:  # fmt: skip
    """One training to its figures, whatever of it is there already."""
    name, rate, seed = which
    iterations = iterations_in(budget.teaching.minutes, throughput[name], budget.teaching.batch)
    wanted = job(study, budget, name, rate, seed, iterations)
    wanted = replace(wanted, stage=f"{wanted.stage} ({place})")

    def figures(painter: Painter) -> dict[str, Any]:
        found = evaluated(protocol, painter, wanted.stage, study.report)
        drawing = {name: found["chosen"][name] for name in ("guidance", "temperature")}
        keep_strip(wanted.folder / STRIP, protocol.drawn(with_card(painter, **drawing), protocol.shown))
        return {
            "name": name, "rate": rate, "seed": seed, "seen": iterations * budget.teaching.batch,
            "training": duration(wanted.folder / "model", budget.teaching.batch),
            "tokenizer_weights": checkpoint.fingerprint(taught_tokenizer(study, wanted.sort) / "checkpoint"),
            **found,
        }  # fmt: skip

    kept(study, wanted, figures)


def untaught(study: Study, budget: Budget, outcome: Outcome, folder: Path) -> None:
    """The checkpoint of a system before it learned: drawing costs it as much as after."""
    recipe = job(study, budget, outcome.name, outcome.rate, outcome.seed, 1).recipe
    torch.manual_seed(budget.seed)
    checkpoint.save(folder / outcome.name, parts.build(recipe.model), card_of(study, recipe), recipe.model)


def finished(out: Path) -> list[Outcome]:
    """All trainings in a study's folder that came to their end."""
    found = []
    for path in sorted((out / "runs").glob("*/figures.json")):
        figures = json.loads(path.read_text())
        found.append(Outcome(figures["name"], figures["rate"], figures["seed"], path.parent, figures))
    return found


def facts_of(study: Study, protocol: EvaluationProtocol) -> dict[str, Any]:
    """How many pictures there are of everything."""
    pictures = study.pictures
    return {
        "learned": int(pictures.weights.sum()), "held_out": len(pictures.held_out), "choosing": len(protocol.choosing),
        "judging": {split: len(places) for split, places in protocol.judging.items()}, "others": len(protocol.others),
    }  # fmt: skip
