"""The training loop: any task, one or several processes, exact resume.

Lightning Fabric moves things to devices and has gradients summed (`scale.py` says how); the moving average of the
weights follows Polyak and Juditsky 1992, warmed up as in Karras et al. 2023.
"""

import json
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor, nn

from kiloword.training.optimiser import AdamWConfig, MuonConfig, schedule
from kiloword.training.plot import plot_losses
from kiloword.training.scale import LossModule, is_split, whole
from kiloword.training.split_state import forget_split, load_newest, save_split
from kiloword.training.state import save_state
from kiloword.training.stopping import agreed_stop
from kiloword.training.tasks.training_task import TrainingTask
from kiloword.transformer import Stack


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how much at once, how fast; `accumulate` splits a batch to save memory, `compile` compiles
    transformers first (torch.compile), which needs a compiler and some minutes."""

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
    """A training run in a folder: its state, losses.jsonl and the task's sheets of pictures.

    With a fabric of several processes each computes its share of every batch, and all make the step that one would.
    """

    def __init__(self, task: TrainingTask, config: TrainingConfig, folder: Path, fabric: Fabric):
        self.task, self.config, self.folder, self.fabric = task, config, folder, fabric
        if config.batch % (fabric.world_size * config.accumulate):
            shares = f"{fabric.world_size} processes x accumulate {config.accumulate}"
            raise ValueError(f"batch {config.batch} is not a multiple of {shares}")
        folder.mkdir(parents=True, exist_ok=True)
        self._original = task.module  # a split module cannot be made whole again: then a copy is trained
        if isinstance(fabric.strategy, ModelParallelStrategy):
            self._use(deepcopy(self._original))
        self.module: nn.Module = task.module
        self._loss_module = fabric.setup_module(LossModule(task))
        self.split = is_split(self.module)
        self.optimisers = config.optimiser.build(self.module)
        for part in self.module.modules() if config.compile else ():
            if isinstance(part, Stack):
                part.compile(dynamic=False)
        self.average = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.iteration, self._whole = 0, True  # not whole: while an optimiser changes the weights
        self.state = folder / "state.safetensors"
        note = load_newest(self.state, self.module, self.average, self.optimisers)
        if note is not None:
            self.iteration = note["iteration"]

    def train(self, report: Callable[[int, dict[str, float]], None] = lambda iteration, figures: None) -> None:
        """Train to the last iteration; `report` is called for each logged one. Ctrl-C saves the state and passes on."""
        try:
            with agreed_stop(self.fabric) as stopped:
                while self.iteration < self.config.iterations:
                    self._iterate(report)
                    if stopped():
                        raise KeyboardInterrupt
        except BaseException as error:
            if self._whole and (self.fabric.world_size == 1 or isinstance(error, KeyboardInterrupt)):
                self.save()  # of several processes only when all have stopped: what one alone writes is not whole
            raise
        self.save()

    def _iterate(self, report: Callable[[int, dict[str, float]], None]) -> None:
        """One iteration, and what is due after it."""
        started = time.perf_counter()
        totals = self._step()
        self.iteration, self._whole = self.iteration + 1, True
        if self.iteration % self.config.log_every == 0 or self.iteration == self.config.iterations:
            totals["loss"] = cast(Tensor, self.fabric.all_reduce(totals["loss"], reduce_op="mean"))
            figures = {name: float(value) for name, value in totals.items()}
            figures["rate"] = self.config.batch / (time.perf_counter() - started)
            self._log(figures)
            report(self.iteration, figures)
        if self.config.look_every and self.iteration % self.config.look_every == 0:
            self.look()
        if self.iteration % self.config.save_every == 0:
            self.save()

    def _step(self) -> dict[str, Tensor]:
        config, fabric = self.config, self.fabric
        torch.manual_seed(_seed(config.seed, self.iteration, fabric.global_rank))
        share = schedule(self.iteration, config.iterations, config.warmup)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = share * config.optimiser.learning_rate
        indices = self.task.choose(self.iteration, config.batch)
        pieces = indices[fabric.global_rank :: fabric.world_size].chunk(config.accumulate)
        self.module.train()
        total: dict[str, Tensor] = {}
        for number, piece in enumerate(pieces, start=1):
            with fabric.no_backward_sync(self._loss_module, enabled=number < len(pieces)):
                loss, figures = self._loss_module(piece, self.iteration / config.iterations)
                fabric.backward(loss / len(pieces))
            for name, value in {"loss": loss, **figures}.items():
                total[name] = total.get(name, torch.zeros(())) + value.detach().float() / len(pieces)
        total["gradient"] = whole(nn.utils.clip_grad_norm_(self.module.parameters(), config.clip))
        self._whole = False
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self._update_average()
        return total

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average towards the weights: faster in the beginning, when there is little to average."""
        keep = min(self.config.average, (self.iteration + 1) / (self.iteration + 10))
        for held, new in zip(self.average.values(), self.module.state_dict().values(), strict=True):
            if held.is_floating_point():
                held.lerp_(new, 1 - keep)

    def look(self) -> dict[str, float]:
        """Let the task evaluate the averaged weights, in the first process."""
        weights = self.averaged()
        if self.fabric.global_rank != 0:
            return {}
        current = {name: value.detach().clone() for name, value in self._original.state_dict().items()}
        self._original.load_state_dict(weights)
        self._original.eval()
        self._use(self._original)
        try:
            with torch.no_grad():
                figures = self.task.look(self.folder, self.iteration)
        finally:
            self._use(self.module)
            self._original.load_state_dict(current)
        self._log(figures)
        plot_losses(self.folder / "losses.jsonl", self.folder / "losses.png")
        return figures

    def finish(self) -> None:
        """Load the averaged weights, each in one piece, into the task's original module."""
        self._original.load_state_dict(self.averaged())
        self._original.eval()
        self._use(self._original)

    def _use(self, module: nn.Module) -> None:
        """Make this the task's module."""
        cast(Any, self.task).module = module

    def save(self) -> None:
        """Write the state: the first process in one file, or each its part of split weights."""
        note: dict[str, Any] = {"iteration": self.iteration, "training": asdict(self.config)}
        if self.split:
            save_split(self.state, self.module, self.average, self.optimisers, note)
        elif self.fabric.global_rank == 0:
            save_state(self.state, self.module, self.average, self.optimisers, note)
            forget_split(self.state)
        self.fabric.barrier()  # a process that ends sooner would end the others while they write

    def averaged(self) -> dict[str, Tensor]:
        """The moving average of the weights, each in one piece; for split weights all processes have to call this."""
        return {name: whole(value) for name, value in self.average.items()}

    def _log(self, figures: dict[str, float]) -> None:
        if self.fabric.global_rank == 0:
            with open(self.folder / "losses.jsonl", "a") as file:
                file.write(json.dumps({"iteration": self.iteration, **figures}) + "\n")


def _seed(seed: int, iteration: int, rank: int) -> int:
    return (seed * 1_000_003 + iteration) * 1_009 + rank
