"""Optimisers and the learning rate's schedule.

AdamW and cosine decay: Loshchilov and Hutter 2017 and 2016; Muon stands in its own file.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from kiloword.training.muon import Muon


@dataclass(frozen=True)
class AdamWConfig:
    """Decay applies to matrices only."""

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05

    def build(self, module: nn.Module) -> list[torch.optim.Optimizer]:
        return [adamw(module.named_parameters(), self)]


@dataclass(frozen=True)
class MuonConfig:
    """Muon for the matrices inside transformer blocks, AdamW for everything else."""

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    momentum: float = 0.95

    def build(self, module: nn.Module) -> list[torch.optim.Optimizer]:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        inside = {name for name, p in named if p.ndim == 2 and ".blocks." in f".{name}"}
        chosen = [p for name, p in named if name in inside]
        muon = Muon(chosen, lr=self.learning_rate, weight_decay=self.weight_decay, momentum=self.momentum)
        rest = AdamWConfig(self.learning_rate, self.betas, self.weight_decay)
        return [muon, adamw(((name, p) for name, p in named if name not in inside), rest)]


def adamw(named: Iterable[tuple[str, nn.Parameter]], config: AdamWConfig) -> torch.optim.Optimizer:
    """The fused AdamW over two groups: matrices, which decay, and the rest, which does not."""
    parameters = [p for _, p in named if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def schedule(iteration: int, iterations: int, warmup: int, floor: float = 0.02) -> float:
    """The share of the learning rate at an iteration: linear warm-up, then a cosine down to `floor`."""
    if iteration < warmup:
        return (iteration + 1) / warmup
    share = (iteration - warmup) / max(1, iterations - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
