"""The study of scaling: one system at several sizes, a larger one's loss predicted, and whether describing helps.

Kaplan et al. 2020 (Scaling Laws for Neural Language Models) for parameters and compute, 6 operations for each parameter
and token that is learned from; Hoffmann et al. 2022 (Training Compute-Optimal Large Language Models) for trainings of
several lengths, each with a schedule of its own. The prediction is on disk before the larger model is begun. The
report is made of the settings and figures of finished trainings alone: a folder without checkpoints resumes.
"""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kiloword.data.shards import replace_file
from kiloword.engine.painter import Painter
from kiloword.evaluation.description import judge
from kiloword.evaluation.likelihood import picture_bits, text_bits
from kiloword.evaluation.session import Session
from kiloword.heads.categorical import CategoricalConfig
from kiloword.parts import ImageModelConfig, TextConfig
from kiloword.recipes.context import Report
from kiloword.recipes.families import GRID
from kiloword.recipes.generators import SYSTEMS, generator
from kiloword.studies.budget import DataBudget, EvaluationBudget, TrainingBudget
from kiloword.studies.jobs import (
    Job,
    Study,
    cached_figures,
    iterations_in,
    open_study,
    recipe_for,
    seconds_of,
    training_for,
)
from kiloword.studies.power_law import NEEDED, Law, fitted, frontier
from kiloword.studies.protocol import EvaluationProtocol, evaluated, protocol_for
from kiloword.studies.scaling_report import write_report
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokens import Categorical
from kiloword.training.tasks.image_model_task import ImageModelTaskConfig

SYSTEM = "vq-raster"  # its losses are likelihoods
WAYS = {
    "drawing alone": 0.0,
    "describing alone": 1.0,
    "both": 0.5,
}  # share of the batch from picture to words
LOSSES = 512  # pictures at most over which a loss is measured


def parts_of(size: str, text: bool = False) -> ImageModelConfig:
    """The parts of a model of a size, with text output if `text`. Raises ValueError for what is no size."""
    width, _, depth = size.partition("x")
    if not (width.isdigit() and depth.isdigit()):
        raise ValueError(f"a size is WIDTHxDEPTH, as in 192x6, got {size!r}")
    model = generator(SYSTEM, int(width), int(depth))
    if not text:
        return model
    merges = BPEConfig()
    words = CategoricalConfig(Categorical(merges.build().space.size), int(width))
    return replace(model, text=TextConfig(merges, words))


@dataclass(frozen=True)
class Budget:
    """Sizes are "WIDTHxDEPTH"; each sees the `shares` of `seen` pictures, `larger` all of them.

    The `ways` are trained at the size `both` for as many minutes as `teaching` says, from each of its seeds.
    """

    material: DataBudget = DataBudget(7_800, 512, (), versions=8)
    teaching: TrainingBudget = TrainingBudget(minutes=10.0, rates=(2e-3,))
    judging: EvaluationBudget = EvaluationBudget(prompts=128, guidances=(2.0,))
    sizes: tuple[str, ...] = ("64x4", "128x2", "128x4", "192x4", "192x6")
    larger: str = "256x8"
    both: str = "192x6"
    seen: int = 48_000
    shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    seed: int = 0

    def __post_init__(self):
        for size in (*self.sizes, self.larger, self.both):
            parts_of(size)
        if len(set(self.sizes)) < NEEDED:
            raise ValueError(f"a law takes {NEEDED} sizes or more, got {', '.join(self.sizes)}")
        if self.larger in self.sizes:
            raise ValueError(f"larger, {self.larger}, is one of the sizes: then there is nothing to predict")
        if len(self.teaching.rates) != 1:
            raise ValueError(f"all sizes have one learning rate, got {self.teaching.rates}")
        if not self.shares or not all(0 < share <= 1 for share in self.shares) or max(self.shares) != 1:
            raise ValueError(f"shares are above 0, the last of them 1, got {self.shares}")
        if self.seen < self.teaching.batch:
            raise ValueError(f"seen is a batch ({self.teaching.batch}) or more, got {self.seen}")


BUDGETS = {
    "quick": Budget(
        DataBudget(seen=6_400), TrainingBudget(minutes=1.0, rates=(2e-3,), seeds=1),
        EvaluationBudget(64, guidances=(2.0,), temperatures=(1.0,)), seen=6_000, shares=(0.5, 1.0),
    ),
    "cpu": Budget(),
    "gpu": Budget(
        DataBudget(7_800, 512, (), versions=8, seen=2_000_000, vocabulary=4096),
        TrainingBudget(minutes=10.0, batch=256, rates=(2e-3,), average=0.999, save_every=500),
        sizes=("64x4", "128x4", "256x4", "384x6", "512x8"), larger="768x10", both="384x6", seen=500_000,
    ),
}  # fmt: skip


def run(budget: Budget, data: Path, out: Path, report: Report) -> Path:
    """Carry out all trainings that are not there yet, and write the report; its file is returned."""
    settings = settings_of(budget)
    study = open_study(
        out, budget.material, settings, data, report, seed=budget.seed, save_every=budget.teaching.save_every
    )
    protocol = protocol_for(study.pictures, budget.judging, budget.seed)
    wanted = [(size, share) for share in sorted(budget.shares) for size in budget.sizes]
    points = [
        measured(study, protocol, budget, size, share, f"{number} of {len(wanted)}")
        for number, (size, share) in enumerate(wanted, start=1)
    ]
    prediction, laws = predict(study, budget, points)
    truth = measured(study, protocol, budget, budget.larger, 1.0, "predicted")
    ways = compare_ways(study, protocol, budget)
    pictures = study.pictures
    facts = {
        "budget": asdict(budget), "system": SYSTEMS[SYSTEM].parts, "points": points, "prediction": prediction,
        "truth": truth, "ways": ways,
        "pictures": {"learned": int(pictures.weights.sum()), "held_out": len(pictures.held_out)},
    }  # fmt: skip
    return write_report(out, facts, laws)


def settings_of(budget: Budget) -> dict[str, Any]:
    """The settings that must be equal for a study to resume."""
    teaching = replace(budget.teaching, save_every=1, seeds=1)
    return asdict(replace(budget, teaching=teaching, judging=replace(budget.judging, shown=1, rounds=1)))


def measured(
    study: Study, protocol: EvaluationProtocol, budget: Budget, size: str, share: float, progress: str
) -> dict[str, Any]:
    """A size trained on a share of the pictures: its parameters, compute and losses."""
    teaching = budget.teaching
    iterations = max(1, round(share * budget.seen / teaching.batch))
    training = training_for(
        study, iterations, teaching.batch, teaching.rates[0], average=teaching.average, seed=budget.seed
    )
    recipe = recipe_for(study, f"{SYSTEM}-{size}", parts_of(size), training)
    job = Job(recipe, SYSTEMS[SYSTEM].sort, folder_of(study, size, share), f"{size}, {share:g} ({progress})")

    def figures(painter: Painter) -> dict[str, Any]:
        count = sum(p.numel() for p in painter.model.transformer.parameters())  # type: ignore[union-attr]
        seen = iterations * teaching.batch
        facts = {"size": size, "share": share, "seen": seen, "parameters": count, "compute": 6 * count * seen * GRID}
        return {**facts, **draw_losses(protocol, painter)}

    return cached_figures(study, job, figures)


def folder_of(study: Study, size: str, share: float) -> Path:
    return study.out / "runs" / f"{size}-{share:g}"


def draw_losses(protocol: EvaluationProtocol, painter: Painter) -> dict[str, float]:
    """Nats a token of held-out pictures, and of as many training pictures, given their prompts."""
    session = Session(painter, protocol.settings.batch)
    found = {}
    for name, indices in loss_indices(protocol).items():
        bits = picture_bits(session, protocol.image_set.pixels[indices], protocol.prompts(painter, indices))
        found[name] = float(bits.mean()) * math.log(2) / session.layout.count
    return found


def text_losses(protocol: EvaluationProtocol, painter: Painter) -> dict[str, float]:
    """Nats of a whole description, its end included, of the same pictures; and the share that is right."""
    session = Session(painter, protocol.settings.batch)
    found: dict[str, float] = {}
    for name, indices in loss_indices(protocol).items():
        said = text_bits(session, protocol.image_set.pixels[indices], protocol.prompts(painter, indices))
        found[f"text, {name}"] = float(said.mean()) * math.log(2)
        records = [protocol.image_set.metadata[index] for index in indices]
        texts = session.described(protocol.image_set.pixels[indices])
        found[f"right, {name}"] = judge(texts, records, painter.card.styles)["right"]
    return found


def loss_indices(protocol: EvaluationProtocol) -> dict[str, list[int]]:
    """Indices of the pictures over which losses are measured."""
    held_out = [index for index, record in enumerate(protocol.image_set.metadata) if record["split"] != "train"][
        :LOSSES
    ]
    return {"held_out": held_out, "learned": protocol.image_set.matching(split="train")[: len(held_out)]}


def predict(study: Study, budget: Budget, points: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Law]]:
    """The losses of the larger model that the laws predict, written to disk before it is begun, and the laws.

    Raises ValueError if the larger one was begun before.
    """
    whole = [point for point in points if point["share"] == 1]
    best = frontier([(point["compute"], point["held_out"]) for point in points])
    laws = {"parameters": fitted(*zip(*[(p["parameters"], p["held_out"]) for p in whole], strict=True))}
    if len(best) >= NEEDED:
        laws["compute"] = fitted(*zip(*best, strict=True))
    path = study.out / "prediction.json"
    if path.exists():
        return json.loads(path.read_text()), laws
    begun = folder_of(study, budget.larger, 1.0)
    if begun.exists():
        raise ValueError(f"{begun} was begun before anything was predicted: remove it")
    with torch.device("meta"):
        count = sum(p.numel() for p in parts_of(budget.larger).transformer.build().parameters())
    seen = round(budget.seen / budget.teaching.batch) * budget.teaching.batch
    at = {"parameters": count, "compute": 6 * count * seen * GRID}
    losses = {name: asdict(law.predicted(at[name])) for name, law in laws.items()}
    prediction = {"size": budget.larger, **at, "loss": losses}
    replace_file(path, json.dumps(prediction, indent=1).encode())
    return prediction, laws


def compare_ways(study: Study, protocol: EvaluationProtocol, budget: Budget) -> list[dict[str, Any]]:
    """The figures of models trained for the same time on drawing, on describing, and on both."""
    first = {way: way_job(study, budget, way, 0, 1) for way in WAYS}
    throughput, found = seconds_of(study, first), []
    for seed in range(budget.teaching.seeds):
        for way in WAYS:
            iterations = iterations_in(budget.teaching.minutes, throughput[way], budget.teaching.batch)
            job = way_job(study, budget, way, seed, iterations)
            facts = {"way": way, "seed": seed, "seen": iterations * budget.teaching.batch}

            def figures(
                painter: Painter, facts: dict = facts, way: str = way, stage: str = job.stage
            ) -> dict[str, Any]:
                drawn = {**draw_losses(protocol, painter), **evaluated(protocol, painter, stage, study.report)}
                said = text_losses(protocol, painter)
                return {**facts, **(drawn if WAYS[way] < 1 else {}), **(said if WAYS[way] > 0 else {})}

            found.append(cached_figures(study, job, figures))
    return found


def way_job(study: Study, budget: Budget, way: str, seed: int, iterations: int) -> Job:
    """The training of a model in one of the `WAYS`."""
    teaching = budget.teaching
    training = training_for(
        study, iterations, teaching.batch, teaching.rates[0], average=teaching.average, seed=budget.seed + seed
    )
    task = ImageModelTaskConfig(describe=WAYS[way])
    recipe = recipe_for(study, way, parts_of(budget.both, text=True), training, task)
    folder = study.out / "runs" / f"{way.replace(' ', '-')}-{seed}"
    return Job(recipe, SYSTEMS[SYSTEM].sort, folder, f"{way}, seed {seed}")
