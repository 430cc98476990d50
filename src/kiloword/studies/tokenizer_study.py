"""The study of tokenizers: every quantizer between the same networks, trained on the same pictures, in one table.

A finished training leaves its settings, its figures and a strip of pictures, and the report is made of these alone: a
folder without checkpoints resumes as well.
Equal networks, equal pictures seen, two learning rates each of which the better counts; one network of convolutions
that is trained for as long as the transformers are. Musgrave et al. 2020 (A Metric Learning Reality Check) on why.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from kiloword import checkpoint, parts
from kiloword.data.shards import replace_file
from kiloword.evaluation.image_set import to_bytes
from kiloword.recipes.context import Report, alone
from kiloword.recipes.recipe_names import SORTS, TOKENIZERS
from kiloword.recipes.tokenizer_run import card, fit_tokenizer, task_of
from kiloword.recipes.tokenizers import PicturesConfig, TokenizerRecipe, cnn, put_together, tokenizer_recipe, vit
from kiloword.recipes.training_set import Pictures
from kiloword.studies.measure import measure, rebuilt
from kiloword.studies.names import check_chosen
from kiloword.studies.report import RUN, STRIP, Finished, some, write_report
from kiloword.studies.report_pictures import keep_strip
from kiloword.studies.resume_check import check_resumed
from kiloword.studies.subset import chosen, subset
from kiloword.studies.throughput import duration, seconds_a_picture
from kiloword.training.augmentation import shrink
from kiloword.training.loop import TrainingConfig

CONTROL = "fsq-cnn"
ADAMW = 0.4  # its learning rate over that of Muon, which needs matrices and convolutions have none
NAMES = (*sorted((*SORTS, "palette")), CONTROL)
assert {f"tokenizer-{name}" for name in NAMES} <= set(TOKENIZERS)


@dataclass(frozen=True)
class Budget:
    """The budget of a study; `seen` counts pictures with their repetitions, in one training."""

    pictures: int = 3200
    held_out: int = 512
    seen: int = 44_800
    batch: int = 32
    rates: tuple[float, ...] = (1e-3, 2.5e-3)
    average: float = 0.99
    save_every: int = 50
    side: int = 64
    seed: int = 0
    shown: int = 16  # pictures on the sheet

    def __post_init__(self):
        if min(self.pictures, self.held_out - 1, self.seen, self.batch, self.side, self.shown, self.save_every) < 1:
            raise ValueError(f"a budget has at least 1 of everything, and 2 held-out pictures: {self}")
        if not self.rates or min(self.rates) <= 0:
            raise ValueError(f"learning rates are above 0, got {self.rates}")


BUDGETS = {
    "quick": Budget(seen=8_000),
    "cpu": Budget(),
    "gpu": Budget(pictures=7_800, seen=2_000_000, batch=128, average=0.999, save_every=500),
}


@dataclass(frozen=True)
class Study:
    """A study in a folder: its budget, its pictures, and the function that reports progress."""

    out: Path
    budget: Budget
    pictures: Pictures
    report: Report


def run(budget: Budget, data: Path, out: Path, names: Sequence[str], report: Report) -> Path:
    """Carry out all trainings that are not there yet, and write the report of all that are; its file is returned."""
    check_names(names)
    records = chosen(data, budget.pictures, budget.held_out)
    check_resumed(out / "budget.json", asdict(replace(budget, save_every=1)))  # it changes no result
    pictures = subset(
        data, records, budget.side, out / "pictures.npy", lambda done, total: report("pictures read", done, total, {}),
    )  # fmt: skip
    study = Study(out, budget, pictures, report)
    rounds = range(len(budget.rates))
    wanted = [(name, rates_of(name, budget)[i]) for i in rounds for name in names if i < len(rates_of(name, budget))]
    for number, (name, rate) in enumerate(wanted, start=1):
        carry_out(study, name, rate, f"{name} at {rate:g} ({number} of {len(wanted)})")
    known = to_bytes(shrink(pictures.values[pictures.held_out], budget.side))
    facts = {**asdict(budget), "pictures": int(pictures.weights.sum()), "held_out": len(known)}
    return write_report(out, finished(out), facts, known)


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError for a tokenizer that the study doesn't know, and for none at all."""
    check_chosen(names, NAMES, "tokenizer")


def rates_of(name: str, budget: Budget) -> list[float]:
    """The learning rates of a tokenizer: smaller ones for AdamW than for Muon, only one where nothing is trained."""
    if name == "palette":
        return [budget.rates[0]]
    return [rate * ADAMW if name.endswith("-cnn") else rate for rate in budget.rates]


def recipe_of(name: str, rate: float, budget: Budget, seen: int) -> TokenizerRecipe:
    """The tokenizer's recipe with the networks of the study and its budget."""
    recipe = tokenizer_recipe(f"tokenizer-{name}")
    networks = cnn(24) if name.endswith("-cnn") else vit()
    iterations = max(1, seen // budget.batch)
    optimiser = replace(recipe.training.optimiser, learning_rate=rate)
    training = TrainingConfig(
        iterations, budget.batch, optimiser, warmup=max(1, min(50, iterations // 10)), average=budget.average,
        seed=budget.seed, save_every=budget.save_every, look_every=0,
    )  # fmt: skip
    return replace(
        recipe,
        tokenizer=put_together(name.removesuffix("-cnn"), networks),
        training=training,
        data=PicturesConfig(budget.side),
    )


def carry_out(study: Study, name: str, rate: float, stage: str) -> None:
    """One training from its start, or from where it was stopped, to its figures; nothing if they are there."""
    folder = study.out / "runs" / f"{name}-{rate:g}"
    seen = _seen(study, name, rate, folder)
    recipe = recipe_of(name, rate, study.budget, seen)
    settings = {
        "name": name,
        "rate": rate,
        "seen": seen,
        "tokenizer": parts.to_json(recipe.tokenizer),
        "reconstruction": asdict(recipe.reconstruction),
    }
    check_resumed(folder / RUN, settings)
    if (folder / "figures.json").exists():
        return
    torch.manual_seed(study.budget.seed)
    tokenizer = parts.build(recipe.tokenizer)
    fit_tokenizer(tokenizer, recipe, study.pictures, alone(folder, study.report), stage)
    checkpoint.save_tokenizer(folder / "checkpoint", tokenizer, recipe.tokenizer, card(recipe))
    figures = {**measure(tokenizer, study.pictures, study.budget.side), **duration(folder, study.budget.batch)}
    known = to_bytes(shrink(study.pictures.values[study.pictures.held_out], study.budget.side))
    keep_strip(folder / STRIP, rebuilt(tokenizer, some(known, study.budget.shown)))
    replace_file(folder / "figures.json", json.dumps(figures, indent=1).encode())
    (folder / "state.safetensors").unlink(missing_ok=True)  # the checkpoint holds what is needed of it


def finished(out: Path) -> list[Finished]:
    """All finished trainings in a study's folder."""
    found = []
    for path in sorted((out / "runs").glob("*/figures.json")):
        settings = json.loads((path.parent / RUN).read_text())
        found.append(
            Finished(settings["name"], settings["rate"], settings["seen"], path.parent, json.loads(path.read_text()))
        )
    return found


def _seen(study: Study, name: str, rate: float, folder: Path) -> int:
    """Pictures that a training sees: all see as many, but for the control, which is trained for as long."""
    if not name.endswith("-cnn"):
        return study.budget.seen
    if (folder / RUN).exists():
        return json.loads((folder / RUN).read_text())["seen"]
    other = name.removesuffix("-cnn")
    recipes = [recipe_of(sort, rate, study.budget, study.budget.seen) for sort in (other, name)]
    tasks = [task_of(parts.build(recipe.tokenizer), recipe, study.pictures) for recipe in recipes]
    trainings = [recipe.training for recipe in recipes]
    seconds, control_seconds = seconds_a_picture(list(zip(tasks, trainings, strict=True)))
    return max(study.budget.batch, round(study.budget.seen * seconds / control_seconds))
