"""The training loop: any task, one or several processes, exact resume.

Lightning Fabric moves things to devices and sums gradients; the moving average of the weights follows Polyak and
Juditsky 1992, warmed up as in Karras et al. 2023.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from kiloword.training.optimiser import AdamWConfig, MuonConfig, course
from kiloword.training.plot import plot_losses
from kiloword.training.state import load_state, save_state
from kiloword.training.tasks.training_task import TrainingTask
from kiloword.transformer import Stack


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how much at once, how fast; `accumulate` splits a batch to save memory, `compile` turns transformers
    into compiled code first, which takes a compiler and some minutes."""

    iterations: int
    batch: int = 64
    optimiser: AdamWConfig | MuonConfig = AdamWConfig()
    warmup: int = 100
    clip: float = 1.0
    average: float = 0.999
    accumulate: int = 1
    seed: int = 0
    save_every: int = 200
    look_every: int = 1000
    log_every: int = 20
    compile: bool = False

    def __post_init__(self):
        if min(self.iterations, self.batch, self.accumulate, self.save_every, self.log_every) < 1:
            raise ValueError(f"iterations, batch, accumulate, save_every and log_every start at 1: {self}")
        if self.batch % self.accumulate:
            raise ValueError(f"batch {self.batch} is not a multiple of accumulate {self.accumulate}")


class Run:
    """A training run in a folder: state.safetensors, losses.jsonl and what the task draws."""

    def __init__(self, task: TrainingTask, config: TrainingConfig, folder: Path, fabric: Fabric):
        self.task, self.config, self.folder, self.fabric = task, config, folder, fabric
        folder.mkdir(parents=True, exist_ok=True)
        self.module: nn.Module = fabric.to_device(task.module)
        self.optimisers = config.optimiser.build(self.module)
        for part in self.module.modules() if config.compile else ():
            if isinstance(part, Stack):
                part.compile(dynamic=False)
        self.average = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.iteration, self._whole = 0, True  # not whole: in the middle of a change of the weights
        self.state = folder / "state.safetensors"
        if self.state.exists():
            self.iteration = load_state(self.state, self.module, self.average, self.optimisers)["iteration"]

    def train(self, report: Callable[[int, dict[str, float]], None] = lambda iteration, figures: None) -> None:
        """Go on until the last iteration; `report` hears of every logged one. Ctrl-C saves the state and passes on."""
        try:
            while self.iteration < self.config.iterations:
                started = time.perf_counter()
                figures = self._step()
                self.iteration, self._whole = self.iteration + 1, True
                if self.iteration % self.config.log_every == 0 or self.iteration == self.config.iterations:
                    figures = {name: float(value) for name, value in figures.items()}
                    figures["rate"] = self.config.batch / (time.perf_counter() - started)
                    self._log(figures)
                    report(self.iteration, figures)
                if self.config.look_every and self.iteration % self.config.look_every == 0:
                    self.look()
                if self.iteration % self.config.save_every == 0:
                    self.save()
        finally:
            if self._whole:
                self.save()

    def _step(self) -> dict[str, Tensor]:
        config, fabric = self.config, self.fabric
        torch.manual_seed(_seed(config.seed, self.iteration, fabric.global_rank))
        share = course(self.iteration, config.iterations, config.warmup)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = share * config.optimiser.learning_rate
        rows = self.task.choose(self.iteration, config.batch)
        pieces = rows[fabric.global_rank :: fabric.world_size].chunk(config.accumulate)
        self.module.train()
        total: dict[str, Tensor] = {}
        for piece in pieces:
            with fabric.autocast():
                loss, figures = self.task.loss(piece)
            fabric.backward(loss / len(pieces))
            for name, value in {"loss": loss, **figures}.items():
                total[name] = total.get(name, torch.zeros(())) + value.detach().float() / len(pieces)
        self._sum_gradients()
        total["gradient"] = nn.utils.clip_grad_norm_(self.module.parameters(), config.clip)
        self._whole = False
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self._follow()
        return total

    def _sum_gradients(self) -> None:
        """The mean of all processes' gradients, so that any number of them takes the step that one would."""
        if self.fabric.world_size > 1:
            for parameter in self.module.parameters():
                if parameter.grad is not None:
                    parameter.grad.copy_(cast(Tensor, self.fabric.all_reduce(parameter.grad, reduce_op="mean")))

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average: slowly at last, faster in the beginning when there is little to remember."""
        keep = min(self.config.average, (self.iteration + 1) / (self.iteration + 10))
        for held, new in zip(self.average.values(), self.module.state_dict().values(), strict=True):
            if held.is_floating_point():
                held.lerp_(new, 1 - keep)

    def look(self) -> dict[str, float]:
        """Let the task judge the averaged weights."""
        if self.fabric.global_rank != 0:
            return {}
        current = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.module.load_state_dict(self.average)
        self.module.eval()
        try:
            with torch.no_grad():
                figures = self.task.look(self.folder, self.iteration)
        finally:
            self.module.load_state_dict(current)
        self._log(figures)
        plot_losses(self.folder / "losses.jsonl", self.folder / "losses.png")
        return figures

    def save(self) -> None:
        """Write the state, if this process is the first one."""
        if self.fabric.global_rank == 0:
            note: dict[str, Any] = {"iteration": self.iteration, "training": asdict(self.config)}
            save_state(self.state, self.module, self.average, self.optimisers, note)

    def _log(self, figures: dict[str, float]) -> None:
        if self.fabric.global_rank == 0:
            with open(self.folder / "losses.jsonl", "a") as file:
                file.write(json.dumps({"iteration": self.iteration, **figures}) + "\n")


def _seed(seed: int, iteration: int, rank: int) -> int:
    return (seed * 1_000_003 + iteration) * 1_009 + rank
