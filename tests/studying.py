"""Studies of models in seconds: networks of a few numbers and budgets of a few steps.

As a program it runs a study of one system in a new process, which is killed in the middle of a training:
`python studying.py FOLDER OUT KILLED_AT`.
"""

import os
import signal
import sys
from pathlib import Path

import torch

import tiny
from kiloword.recipes import generators as recipes
from kiloword.studies import generator_study as generators
from kiloword.studies import jobs, scaling
from kiloword.studies.budget import DataBudget, EvaluationBudget, TrainingBudget
from kiloword.tokenizers.vit import ViTConfig
from kiloword.training.loop import Run

MATERIAL = DataBudget(pictures=12, held_out=6, styles=("flat",), versions=2, seen=64, vocabulary=300)
JUDGING = EvaluationBudget(6, guidances=(1.5, 2.0), temperatures=(1.0,), batch=8, shown=3, rounds=1)
GENERATORS = generators.Budget(
    MATERIAL,
    TrainingBudget(0.001, batch=4, rates=(1e-3, 4e-3), best=1, seeds=2, save_every=2),
    JUDGING,
    width=64,
    depth=2,
)
SCALING = scaling.Budget(
    MATERIAL, TrainingBudget(0.001, batch=4, rates=(2e-3,), seeds=2, save_every=2), JUDGING,
    sizes=("64x2", "64x4", "64x6", "128x2"), larger="128x4", both="64x2", seen=16, shares=(0.5, 1.0),
)  # fmt: skip


def networks() -> tuple[ViTConfig, ViTConfig]:
    """A token covers 8x8 pixels, as in the studies."""
    stack = tiny.vit().fine
    return (ViTConfig(stack, stack, 8, 1, 4),) * 2


def no_report(stage: str, done: int, total: int | None, figures: dict) -> None:
    pass


def program(folder: str, out: str, killed_at: int) -> None:
    torch.set_num_threads(1)
    jobs.vit = recipes.vit = networks
    step = Run._step

    def killing(run: Run) -> dict:
        if run.folder.name == "model" and run.iteration == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(run)

    Run._step = killing
    generators.run(GENERATORS, Path(folder), Path(out), ["vq-raster"], no_report)


if __name__ == "__main__":
    program(sys.argv[1], sys.argv[2], int(sys.argv[3]))
