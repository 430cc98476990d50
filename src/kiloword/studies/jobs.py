"""Jobs: the trainings of a study; each tokenizer once, every model in its folder.

All resume where they were stopped (`training/loop.py`). Throughput is measured before, interleaved: Dehghani et al.
2021 (The Efficiency Misnomer) on why parameters or steps alone are no fair cost.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from kiloword import checkpoint, parts
from kiloword.data.emoji import wording
from kiloword.data.shards import replace_file
from kiloword.engine.card import Card
from kiloword.engine.painter import Painter
from kiloword.model import ImageModel
from kiloword.parts import ImageModelConfig
from kiloword.recipes.context import Report, alone
from kiloword.recipes.model_run import card
from kiloword.recipes.recipe import DataConfig, Recipe
from kiloword.recipes.stages import image_model_task, learn
from kiloword.recipes.tokenizer_run import card as tokenizer_card
from kiloword.recipes.tokenizer_run import fit_tokenizer
from kiloword.recipes.tokenizers import WHOLE, PicturesConfig, TokenizerRecipe, put_together, tokenizer_recipe, vit
from kiloword.recipes.training_set import Pictures
from kiloword.recipes.vocabulary import with_merges
from kiloword.studies.budget import SIDE, DataBudget
from kiloword.studies.report import RUN
from kiloword.studies.resume_check import check_resumed
from kiloword.studies.subset import chosen, subset
from kiloword.studies.throughput import seconds_a_picture
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.training.loop import TrainingConfig
from kiloword.training.optimiser import MuonConfig
from kiloword.training.tasks.image_model_task import ImageModelTask, ImageModelTaskConfig
from kiloword.training.tasks.tokenizer_task import LossWeights

BATCH = 32  # pictures at once when a tokenizer learns
TIMED = 5  # rounds of timing
WEIGHTS = LossWeights(kl_loss=1e-3)  # so that a flow can start from continuous latents


@dataclass(frozen=True)
class Study:
    """A study's folder, its pictures, its byte-pair merges, and the function that reports progress."""

    out: Path
    material: DataBudget
    seed: int
    save_every: int
    pictures: Pictures
    merges: BPEConfig
    report: Report


@dataclass(frozen=True)
class Job:
    """A model to be trained, the sort of its tokenizer, the folder, and the stage's name in reports."""

    recipe: Recipe
    sort: str
    folder: Path
    stage: str

    def check_resumed(self) -> None:
        """Write the job's settings to the folder, or raise ValueError if it was begun with other ones."""
        recipe = self.recipe
        settings = {
            "name": recipe.name,
            "model": parts.to_json(recipe.model),
            "training": asdict(replace(recipe.training, save_every=1)),  # it changes no result
            "task": asdict(recipe.task),
        }
        check_resumed(self.folder / RUN, settings)


def open_study(
    out: Path, material: DataBudget, settings: dict, data: Path, report: Report, *, seed: int, save_every: int
) -> Study:
    """The study in a folder, with its settings written there. Raises ValueError if it was begun with other ones."""
    records = chosen(data, material.pictures, material.held_out, material.styles)
    if not all(record["base"] for record in records):
        raise ValueError(f"the pictures in {data} say nothing of their base: it is not an emoji set")
    check_resumed(out / "budget.json", settings)
    pictures = subset(
        data, records, SIDE, out / "pictures.npy", lambda done, total: report("pictures read", done, total, {}),
    )  # fmt: skip
    texts = (text for record in records if record["split"] == "train" for text in wording.texts(record))
    return Study(out, material, seed, save_every, pictures, BPEConfig.train(texts, material.vocabulary), report)


def recipe_for(
    study: Study, name: str, model: ImageModelConfig, training: TrainingConfig,
    task: ImageModelTaskConfig = ImageModelTaskConfig(),
) -> Recipe:  # fmt: skip
    """A recipe with the study's byte-pair merges and pictures."""
    material = study.material
    data = DataConfig(SIDE, material.versions, material.vocabulary)
    about = f"{name}, trained in a study to be compared."
    model = with_merges(model, study.merges)
    return Recipe(name, about, model, data, TrainingConfig(1), training, task=task)


def training_for(
    study: Study, iterations: int, batch: int, rate: float, *, average: float, seed: int
) -> TrainingConfig:  # fmt: skip
    """Muon, warmed up for 50 iterations or a tenth of them."""
    return TrainingConfig(
        iterations, batch, MuonConfig(rate, weight_decay=0.1), warmup=max(1, min(50, iterations // 10)),
        average=average, seed=seed, save_every=study.save_every, look_every=0,
    )  # fmt: skip


def carry_out(study: Study, job: Job) -> Path:
    """A training from its start, or from where it was stopped; the checkpoint's folder, at once if it is there."""
    job.check_resumed()
    folder = job.folder / "checkpoint"
    if folder.exists():
        return folder
    tokenizer = trained_tokenizer(study, job.sort)
    torch.manual_seed(job.recipe.training.seed)
    model = parts.build(job.recipe.model)
    checkpoint.put_weights(model.picture.tokenizer, tokenizer / "checkpoint" / checkpoint.WEIGHTS)
    task = image_model_task(model, job.recipe, study.pictures, alone(tokenizer, study.report))
    learn(task, job.recipe.training, job.stage, alone(job.folder, study.report))
    checkpoint.save(folder, model.cpu(), card_of(study, job.recipe), job.recipe.model)
    (job.folder / "model" / "state.safetensors").unlink()  # the checkpoint holds what is needed of it
    return folder


def cached_figures(study: Study, job: Job, measure: Callable[[Painter], dict[str, Any]]) -> dict[str, Any]:
    """The figures of a training: from its file if they are there, else it is carried out and measured."""
    path = job.folder / "figures.json"
    if path.exists():
        job.check_resumed()
    else:
        replace_file(path, json.dumps(measure(painter_of(carry_out(study, job))), indent=1).encode())
    return json.loads(path.read_text())


def trained_tokenizer(study: Study, sort: str) -> Path:
    """The folder of a tokenizer, which is trained if it is not there."""
    folder = study.out / "tokenizers" / sort
    if not (folder / "checkpoint").exists():
        recipe = tokenizer_for(study, sort)
        torch.manual_seed(study.seed)
        tokenizer = parts.build(recipe.tokenizer)
        fit_tokenizer(tokenizer, recipe, study.pictures, alone(folder, study.report), f"tokenizer {sort}")
        checkpoint.save_tokenizer(folder / "checkpoint", tokenizer, recipe.tokenizer, tokenizer_card(recipe))
        (folder / "state.safetensors").unlink(missing_ok=True)
    return folder


def tokenizer_for(study: Study, sort: str) -> TokenizerRecipe:
    """The sort's recipe between the networks of all, trained on as many pictures as all."""
    recipe, iterations = tokenizer_recipe(f"tokenizer-{sort}"), max(1, study.material.seen // BATCH)
    training = replace(
        recipe.training, iterations=iterations, batch=BATCH, warmup=max(1, min(50, iterations // 10)),
        seed=study.seed, save_every=study.save_every, look_every=0,
    )  # fmt: skip
    return replace(
        recipe, tokenizer=put_together(sort, vit()), training=training,
        reconstruction=replace(WHOLE, weights=WEIGHTS), data=PicturesConfig(SIDE),
    )  # fmt: skip


def seconds_of(study: Study, jobs: dict[str, Job]) -> dict[str, float]:
    """The seconds that a training picture takes each job: measured once, interleaved, and kept in the folder.

    Raises ValueError if other jobs were measured.
    """
    path = study.out / "pace.json"
    if path.exists():
        known = json.loads(path.read_text())
        if known.keys() != jobs.keys():
            raise ValueError(f"{path} is of {', '.join(known)}: remove it to measure anew, or choose another --out")
        return known
    study.report("throughput measured", 0, len(jobs), {})
    trainings = [(_untrained_task(study, job), job.recipe.training) for job in jobs.values()]
    found = dict(zip(jobs, seconds_a_picture(trainings, TIMED), strict=True))
    study.report("throughput measured", len(jobs), len(jobs), {})
    replace_file(path, json.dumps(found, indent=1).encode())
    return found


def _untrained_task(study: Study, job: Job) -> ImageModelTask:
    """A job's task on a few pictures, with an untrained tokenizer: it takes no less time."""
    pictures, count = study.pictures, job.recipe.training.batch
    weights = pictures.weights[:count]
    few = Pictures(pictures.values[:count], pictures.metadata[:count], weights, torch.arange(0))
    torch.manual_seed(study.seed)
    model: ImageModel = parts.build(job.recipe.model)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return image_model_task(model, job.recipe, few, alone(Path(folder), lambda *_: None))


def iterations_in(minutes: float, seconds: float, batch: int) -> int:
    """The number of iterations that fit into a time, of batches of so many pictures."""
    return max(1, round(minutes * 60 / (seconds * batch)))


def card_of(study: Study, recipe: Recipe) -> Card:
    """The card of a recipe's model, with the styles that it is trained on."""
    held = {record["style"] for record in study.pictures.metadata}
    return replace(card(recipe), styles={style: phrase for style, phrase in wording.PHRASES.items() if style in held})


def painter_of(folder: Path, **settings: float) -> Painter:
    """A checkpoint with these settings in its card, on the accelerator if there is one."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return with_card(checkpoint.load(folder, device or "cpu"), **settings)


def with_card(painter: Painter, **settings: float) -> Painter:
    """The same painter with other settings in its card."""
    changed: Card = replace(painter.card, **settings)  # type: ignore[arg-type]
    return Painter(painter.model, changed, painter.classes, painter.judge)
