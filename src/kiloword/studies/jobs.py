"""Jobs: where the models of a study are taught; each tokenizer once, every model in a folder of its own.

All go on where they were stopped (`training/loop.py`). Equal time is measured before, in turns: Dehghani et al. 2021
(The Efficiency Misnomer) on why parameters or steps alone are no fair cost.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from kiloword import checkpoint, parts
from kiloword.datasets.emoji import wording
from kiloword.datasets.shards import replace_file
from kiloword.engine.card import Card
from kiloword.engine.painter import Painter
from kiloword.model import ImageModel
from kiloword.parts import ImageModelConfig
from kiloword.recipes.model_run import Pictures, Report, card, fabric, finish, image_model_task, with_merges
from kiloword.recipes.recipe import DataConfig, Recipe
from kiloword.recipes.tokenizer_run import card as tokenizer_card
from kiloword.recipes.tokenizer_run import fit_tokenizer
from kiloword.recipes.tokenizers import WHOLE, PicturesConfig, TokenizerRecipe, put_together, tokenizer_recipe, vit
from kiloword.studies.budget import SIDE, Material
from kiloword.studies.report import RUN
from kiloword.studies.resume_check import check_resumed
from kiloword.studies.subset import chosen, subset
from kiloword.studies.throughput import seconds_a_picture
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.training.loop import Run, TrainingConfig
from kiloword.training.optimiser import MuonConfig
from kiloword.training.tasks.image_model_task import ImageModelTask, ImageModelTaskConfig
from kiloword.training.tasks.tokenizer_task import LossWeights

BATCH = 32  # pictures at once when a tokenizer learns
TIMED = 5  # rounds of timing
WEIGHTS = LossWeights(kl_loss=1e-3)  # so that a flow can start from continuous latents


@dataclass(frozen=True)
class Study:
    """A study's folder, its pictures, the merges of its words, and who hears how far it is."""

    out: Path
    material: Material
    seed: int
    save_every: int
    pictures: Pictures
    merges: BPEConfig
    report: Report


@dataclass(frozen=True)
class Job:
    """A model to be taught, the sort of its tokenizer, where, and what its training is called."""

    recipe: Recipe
    sort: str
    folder: Path
    stage: str

    def check_resumed(self) -> None:
        """Keep what is to be taught in the folder, or raise ValueError if it was begun with something else."""
        recipe = self.recipe
        settings = {
            "name": recipe.name,
            "model": parts.to_json(recipe.model),
            "training": asdict(replace(recipe.training, save_every=1)),  # what this is changes nothing
            "task": asdict(recipe.task),
        }
        check_resumed(self.folder / RUN, settings)


def opened(
    out: Path, material: Material, settings: dict, data: Path, report: Report, *, seed: int, save_every: int
) -> Study:
    """The study in a folder, whose settings are kept there. Raises ValueError if it was begun with other ones."""
    rows = chosen(data, material.pictures, material.held_out, material.styles)
    if not all(row["base"] for row in rows):
        raise ValueError(f"the pictures in {data} say nothing of their base: it is not an emoji set")
    check_resumed(out / "budget.json", settings)
    pictures = subset(
        data, rows, SIDE, out / "pictures.npy", lambda done, total: report("pictures read", done, total, {}),
    )  # fmt: skip
    said = (text for row in rows if row["split"] == "train" for text in wording.texts(row))
    return Study(out, material, seed, save_every, pictures, BPEConfig.train(said, material.vocabulary), report)


def recipe_for(
    study: Study, name: str, model: ImageModelConfig, training: TrainingConfig,
    task: ImageModelTaskConfig = ImageModelTaskConfig(),
) -> Recipe:  # fmt: skip
    """A recipe with the words of the study and its pictures."""
    material = study.material
    data = DataConfig(SIDE, material.versions, material.vocabulary)
    about = f"{name}, taught in a study to be compared."
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
    tokenizer = taught_tokenizer(study, job.sort)
    torch.manual_seed(job.recipe.training.seed)
    model = parts.build(job.recipe.model)
    checkpoint.put_weights(model.picture.tokenizer, tokenizer / "checkpoint" / checkpoint.WEIGHTS)
    task = image_model_task(model, job.recipe, study.pictures, tokenizer / "tokens.npy")
    finish(Run(task, job.recipe.training, job.folder / "model", fabric()), job.stage, study.report)
    checkpoint.save(folder, model.cpu(), card_of(study, job.recipe), job.recipe.model)
    (job.folder / "model" / "state.safetensors").unlink()  # the checkpoint holds what is needed of it
    return folder


def kept(study: Study, job: Job, measure: Callable[[Painter], dict[str, Any]]) -> dict[str, Any]:
    """The figures of a training: from its file if they are there, else it is carried out and measured."""
    path = job.folder / "figures.json"
    if path.exists():
        job.check_resumed()
    else:
        replace_file(path, json.dumps(measure(painter_of(carry_out(study, job))), indent=1).encode())
    return json.loads(path.read_text())


def taught_tokenizer(study: Study, sort: str) -> Path:
    """The folder of a tokenizer, which is taught if it is not there."""
    folder = study.out / "tokenizers" / sort
    if not (folder / "checkpoint").exists():
        recipe = tokenizer_for(study, sort)
        torch.manual_seed(study.seed)
        tokenizer = parts.build(recipe.tokenizer)
        fit_tokenizer(tokenizer, recipe, study.pictures, folder, f"tokenizer {sort}", study.report)
        checkpoint.save_tokenizer(folder / "checkpoint", tokenizer, recipe.tokenizer, tokenizer_card(recipe))
        (folder / "state.safetensors").unlink(missing_ok=True)
    return folder


def tokenizer_for(study: Study, sort: str) -> TokenizerRecipe:
    """The sort's recipe between the networks of all, taught as long as all."""
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
    """The seconds that a picture takes each job: measured once, in turns, and kept in the study's folder.

    Raises ValueError if other jobs were measured.
    """
    path = study.out / "pace.json"
    if path.exists():
        known = json.loads(path.read_text())
        if known.keys() != jobs.keys():
            raise ValueError(f"{path} tells of {', '.join(known)}: remove it to measure anew, or choose another --out")
        return known
    study.report("paces measured", 0, len(jobs), {})
    trainings = [(_untaught(study, job), job.recipe.training) for job in jobs.values()]
    found = dict(zip(jobs, seconds_a_picture(trainings, TIMED), strict=True))
    study.report("paces measured", len(jobs), len(jobs), {})
    replace_file(path, json.dumps(found, indent=1).encode())
    return found


def _untaught(study: Study, job: Job) -> ImageModelTask:
    """A job's task on a few pictures, with a tokenizer that has learned nothing: it takes no less time."""
    pictures, count = study.pictures, job.recipe.training.batch
    weights = pictures.weights[:count]
    few = Pictures(pictures.values[:count], pictures.metadata[:count], weights, torch.arange(0))
    torch.manual_seed(study.seed)
    model: ImageModel = parts.build(job.recipe.model)
    with TemporaryDirectory() as folder:
        return image_model_task(model, job.recipe, few, Path(folder) / "tokens.npy")


def iterations_in(minutes: float, seconds: float, batch: int) -> int:
    """How many steps of so many pictures fit into a time."""
    return max(1, round(minutes * 60 / (seconds * batch)))


def card_of(study: Study, recipe: Recipe) -> Card:
    """What a user has to know of a recipe's model, with the styles that are learned."""
    held = {row["style"] for row in study.pictures.metadata}
    return replace(card(recipe), styles={style: said for style, said in wording.PHRASES.items() if style in held})


def painter_of(folder: Path, **settings: float) -> Painter:
    """A checkpoint that draws by these settings of its card, on the device that there is."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return with_card(checkpoint.load(folder, device or "cpu"), **settings)


def with_card(painter: Painter, **settings: float) -> Painter:
    """The same painter, by other settings."""
    told: Card = replace(painter.card, **settings)  # type: ignore[arg-type]
    return Painter(painter.model, told, painter.classes, painter.judge)
