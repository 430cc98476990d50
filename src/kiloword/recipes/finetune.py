"""Fine-tuning: a trained model is trained further on a user's pictures; its tokenizer is frozen.

Ruiz et al. 2022 (DreamBooth) for the use; a hundred pictures take about ten minutes on two cores.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from kiloword import checkpoint, parts
from kiloword.data.array import clear
from kiloword.recipes.context import Context
from kiloword.recipes.recipe import changed
from kiloword.recipes.stages import learn, task_on_tokens
from kiloword.recipes.training_set import load_pictures
from kiloword.recipes.vocabulary import check_lengths
from kiloword.training.loop import TrainingConfig
from kiloword.training.optimiser import MuonConfig
from kiloword.training.tasks.image_model_task import ImageModelTaskConfig


@dataclass(frozen=True)
class FinetuneConfig:
    """How a model is fine-tuned; `hold_out` is the share of pictures kept for evaluation."""

    training: TrainingConfig = TrainingConfig(
        iterations=400, batch=48, optimiser=MuonConfig(6e-4, weight_decay=0.05), warmup=20, average=0.98, look_every=100
    )
    task: ImageModelTaskConfig = ImageModelTaskConfig()
    versions: int = 8
    hold_out: float = 0.05


def finetune(start: str, data: Path, context: Context, changes: dict[str, str]) -> Path:
    """Train the model `start` on the pictures of a data set; the new checkpoint's folder is returned."""
    settings = changed(FinetuneConfig(), changes)
    source = checkpoint.find(start)
    config, card = checkpoint.read_config(source)
    model = parts.build(config)
    checkpoint.put_weights(model, source / checkpoint.WEIGHTS)
    side, store = card.sizes[0][0] // model.pixel_decoder.scale, context.folder / "pictures"
    with context.first_process_first():
        pictures = load_pictures(data, store, side, hold_out=settings.hold_out)
    check_lengths(config, pictures.metadata, settings.task.describe > 0)
    task = task_on_tokens(model, pictures, side, settings.versions, settings.task, context)
    learn(task, settings.training, "fine-tuning", context)
    folder = context.folder / "checkpoint"
    with context.first_process_first():
        if context.is_first:
            card, judge = replace(card, name=f"{card.name}+{data.name}"), checkpoint.load_judge(source)
            checkpoint.save(folder, model.cpu(), card, config, judge=judge)
            clear(store)
    return folder
