"""A task of a second: fit a curve, with dropout or without, from a run of one process or a part of one of several.

As a program it trains in a new process, or as one of two:
`python learning.py FOLDER ITERATIONS STRATEGY KILLED_AT OPTIMISER`.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor, nn

from kiloword.training.augmentation import shuffled
from kiloword.training.loop import Run, TrainingConfig
from kiloword.training.optimiser import AdamWConfig, MuonConfig
from kiloword.training.scale import shard


class Curve:
    """The sine of three numbers' mean, nearly. Its module has blocks, as those that Muon is for."""

    def __init__(self, dropout: float = 0.2):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(64, 3, generator=generator)
        torch.manual_seed(0)
        hidden = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(dropout))
        self.module = nn.ModuleDict({"enter": nn.Linear(3, 8), "blocks": hidden, "leave": nn.Linear(8, 1)})
        self.shares_done: list[float] = []  # of the training, at each loss
        self.module.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def choose(self, iteration: int, count: int) -> Tensor:
        return shuffled(torch.ones(64), iteration, count, seed=3)

    def loss(self, chosen: Tensor, done: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        self.shares_done.append(done)
        x = self.x[chosen]
        self.module.seen += len(chosen)
        error = self.module["leave"](self.module["blocks"](self.module["enter"](x)))[:, 0] - (x.sum(1) / 2).sin()
        return error.square().mean(), {"worst": error.detach().abs().max()}

    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        torch.rand(7)  # random numbers of an evaluation must not change the training
        return {"judged": float(self.loss(torch.arange(64))[0])}


OPTIMISERS = {"adamw": AdamWConfig(learning_rate=0.01), "muon": MuonConfig(learning_rate=0.01)}


def start(folder: Path, iterations: int, optimiser="muon", dropout=0.2, fabric: Fabric | None = None, **changes) -> Run:
    """A run that logs every iteration."""
    settings = {"batch": 8, "warmup": 2, "save_every": 2, "look_every": 0, "log_every": 1, **changes}
    config = TrainingConfig(iterations, optimiser=OPTIMISERS[optimiser], **settings)
    return Run(Curve(dropout), config, folder, fabric or Fabric(accelerator="cpu", devices=1))


def two(strategy: str) -> Fabric:
    """The fabric of two processes on the CPU."""
    plugin = ModelParallelStrategy(shard, data_parallel_size=2, tensor_parallel_size=1) if strategy == "fsdp" else "ddp"
    return Fabric(accelerator="cpu", devices=2, strategy=plugin)


def program(folder: str, iterations: int, strategy: str, killed_at: int, optimiser: str) -> None:
    """Train, several processes without dropout, and be killed after iteration `killed_at`, before it is saved."""
    torch.set_num_threads(1)
    alone = strategy == "auto"
    fabric = Fabric(accelerator="cpu", devices=1) if alone else two(strategy)
    fabric.launch()
    run = start(Path(folder), iterations, optimiser, dropout=0.2 if alone else 0.0, fabric=fabric, look_every=4)
    run.train(lambda iteration, _: iteration == killed_at and os.kill(os.getpid(), signal.SIGKILL))
    if not alone:  # whoever is done first must not pull the connection from under the other
        fabric.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    program(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
