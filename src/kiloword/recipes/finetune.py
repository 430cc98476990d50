"""Fine-tuning: a model that is there goes on learning from a user's own pictures; its tokenizer stays as it is.

Ruiz et al. 2022 (DreamBooth) for the use; a hundred pictures take about ten minutes on two cores.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kiloword import checkpoint, parts
from kiloword.datasets import folder as pictures_folder
from kiloword.datasets import shards
from kiloword.engine.request import read_size
from kiloword.recipes.model_run import Report, cached_tokens, fabric, finish
from kiloword.recipes.recipe import changed
from kiloword.training.augmentation import to_bytes
from kiloword.training.loop import Run, TrainingConfig
from kiloword.training.optimiser import MuonConfig
from kiloword.training.tasks.image_model_task import Captions, ImageModelTask, ImageModelTaskConfig


@dataclass(frozen=True)
class FinetuneConfig:
    """How a model goes on learning; `hold_out` is the share of pictures kept for judging."""

    training: TrainingConfig = TrainingConfig(
        iterations=400, batch=48, optimiser=MuonConfig(6e-4, weight_decay=0.05), warmup=20, average=0.98, look_every=100
    )
    task: ImageModelTaskConfig = ImageModelTaskConfig()
    versions: int = 8
    hold_out: float = 0.05


def finetune(start: str, data: Path, out: Path, changes: dict[str, str], report: Report) -> Path:
    """Teach the model `start` the pictures of `data` (a folder, or shards); the new checkpoint's folder is returned."""
    settings = changed(FinetuneConfig(), changes)
    source = checkpoint.find(start)
    config, card = checkpoint.read_config(source)
    model = parts.build(config)
    checkpoint.put_weights(model, source / checkpoint.WEIGHTS)
    side = read_size(model, card.sizes[0])[0]
    samples = list(shards.read(data) if any(data.glob("shard-*.tar")) else pictures_folder.read(data))
    if not samples:
        raise ValueError(f"{data} holds no pictures with captions: see `kiloword data folder --help`")
    captions = [str(sample.metadata["caption"]) for sample in samples]
    for caption in captions:
        model.prompt.text.encode([caption], model.prompt.config.limit)
    values = torch.stack([to_bytes(sample.picture, 2 * side) for sample in samples])
    out.mkdir(parents=True, exist_ok=True)
    tokens, shown = cached_tokens(model, values, side, settings.versions, out / "tokens.npy")
    said = Captions(ask=lambda row, chance: ask(captions[row], chance), answer=lambda row: captions[row])
    weights = torch.ones(len(captions))
    order = torch.randperm(len(captions), generator=torch.Generator().manual_seed(0))
    held_out = order[: max(1, round(len(captions) * settings.hold_out))]
    if len(captions) > 1:
        weights[held_out] = 0
    layout = model.picture.tokenizer.layout(side, side)
    task = ImageModelTask(model, layout, tokens, said, weights, held_out, settings.task, shown)
    run = Run(task, settings.training, out / "model", fabric())
    finish(run, "fine-tuning", report)
    folder = out / "checkpoint"
    card, judge = replace(card, name=f"{card.name}+{data.name}"), checkpoint.load_judge(source)
    checkpoint.save(folder, model.cpu(), card, config, judge=judge)
    return folder


def ask(caption: str, chance: random.Random) -> str:
    """The caption as it stands, or with an article or without."""
    bare = caption.removeprefix("a ").removeprefix("an ")
    return chance.choice((caption, caption, bare, f"a {bare}"))
