"""Throughput of trainings: their steps are timed alternately, so that a busy machine slows them alike.

Source: Kalibera and Jones 2013 (Rigorous Benchmarking in Reasonable Time) on repetition; medians are compared.
"""

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from kiloword.recipes.context import fabric
from kiloword.training.loop import TrainingConfig
from kiloword.training.tasks.training_task import TrainingTask

Training = tuple[TrainingTask, TrainingConfig]


def seconds_a_picture(trainings: Sequence[Training], rounds: int = 3) -> list[float]:
    """The median time of the steps of each training, the first of which is not counted. It trains the modules."""
    steps = [_Step(*training) for training in trainings]
    times = [[step.take() for step in steps] for _ in range(rounds + 1)]
    medians = [statistics.median(durations) for durations in zip(*times[1:], strict=True)]
    return [time / training.batch for time, (_, training) in zip(medians, trainings, strict=True)]


def duration(folder: Path, batch: int) -> dict[str, float]:
    """Pictures a second of a training, the median of those that were logged, and the minutes that all of them take."""
    path = folder / "losses.jsonl"
    if not path.exists():
        return {}
    records = [json.loads(line) for line in path.read_text().splitlines() if '"rate"' in line]
    rate = sorted(record["rate"] for record in records)[len(records) // 2]
    return {"rate": rate, "minutes": max(record["iteration"] for record in records) * batch / rate / 60}


class _Step:
    """One step of a training, again and again."""

    def __init__(self, task: TrainingTask, training: TrainingConfig):
        self.fabric, self.task = fabric(), task
        module = self.fabric.to_device(task.module)
        module.train()
        self.indices = task.choose(0, training.batch)
        self.optimisers = training.optimiser.build(module)

    def take(self) -> float:
        started = time.perf_counter()
        with self.fabric.autocast():
            loss, _ = self.task.loss(self.indices)
        self.fabric.backward(loss)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        return time.perf_counter() - started
