"""The context of a training: its folder, the function that reports its progress, its processes and devices.

Lightning Fabric starts the processes and moves things to devices; DDP after Li et al. 2020 (PyTorch Distributed),
FSDP2 (fully_shard) after Zhao et al. 2023 (PyTorch FSDP).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

from kiloword.training.precision import multiplies_bfloat16
from kiloword.training.scale import shard

STRATEGIES = ("auto", "ddp", "fsdp")
PATIENCE = timedelta(hours=12)  # for one process to prepare what the others wait for

Report = Callable[[str, int, int, dict[str, float]], None]  # stage, iteration, iterations, figures


@dataclass(frozen=True)
class Context:
    """A training's folder, its `report` of progress, and the devices, for large models and for all others."""

    folder: Path
    report: Report
    fabric: Fabric
    large: Fabric  # the same devices, with the transformer's weights split among them if the strategy says so

    @contextmanager
    def first_process_first(self) -> Iterator[None]:
        """The first process runs the body, then the others, which find its results on disk."""
        with self.fabric.rank_zero_first():
            yield

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes caches, logs and checkpoints."""
        return self.fabric.is_global_zero

    def at(self, folder: Path) -> "Context":
        """The same in another folder."""
        return replace(self, folder=folder)


def alone(folder: Path, report: Report) -> Context:
    """One process on one device."""
    here = fabric()
    return Context(folder, report, here, here)


def launched(folder: Path, report: Report, strategy: str = "auto", devices: int = 1) -> Context:
    """The processes are started, unless `torchrun` has: one for each device. "auto" is "ddp" where there are several.

    "ddp" keeps all weights on every device and sums gradients; "fsdp" splits the transformer's weights, gradients and
    optimiser among them. Raises ValueError for another strategy, or less than one device.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"there is no strategy {strategy!r}: choose {', '.join(STRATEGIES)}")
    if devices < 1:
        raise ValueError(f"at least one device is needed, got {devices}")
    if strategy == "auto" and devices == 1:
        return alone(folder, report)
    small = fabric(DDPStrategy(find_unused_parameters=True, timeout=PATIENCE), devices)
    small.launch()
    if strategy != "fsdp":
        return Context(folder, _from_first(small, report), small, small)
    split = ModelParallelStrategy(shard, data_parallel_size=small.world_size, tensor_parallel_size=1, timeout=PATIENCE)
    large = fabric(split, devices)
    large.launch()
    return Context(folder, _from_first(small, report), small, large)


def fabric(strategy: DDPStrategy | ModelParallelStrategy | str = "auto", devices: int = 1) -> Fabric:
    """A Fabric on the accelerator, if there is one, in bfloat16 where that is fast."""
    precision = "bf16-mixed" if multiplies_bfloat16() else "32-true"
    return Fabric(accelerator="auto", devices=devices, strategy=strategy, precision=precision)


def _from_first(fabric: Fabric, report: Report) -> Report:
    """Only the first process reports."""
    return report if fabric.is_global_zero else lambda stage, iteration, iterations, figures: None
