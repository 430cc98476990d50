"""A training on several devices: one forward pass for a task's whole loss, and weights that are split (sharded).

DDP: Li et al. 2020 (PyTorch Distributed); FSDP2: Zhao et al. 2023 (PyTorch FSDP), `torch.distributed.fsdp.fully_shard`.
"""

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from kiloword.training.tasks.training_task import TrainingTask


class LossModule(nn.Module):
    """A task's loss as the forward pass of one module, which Fabric wraps for DDP or FSDP2.

    These act before and after `forward` only; a task calls many methods of many parts.
    """

    def __init__(self, task: TrainingTask):
        super().__init__()
        self.module = task.module
        self._task = task

    def forward(self, batch: Tensor, done: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        """The task's loss of a batch after the share `done` of a training, and its figures."""
        return self._task.loss(batch, done)


def shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Split the parameters among the devices of a mesh: block by block, then all that is left."""
    data = mesh["data_parallel"]
    for blocks in [part for name, part in module.named_modules() if name.rpartition(".")[2] == "blocks"]:
        for block in blocks.children() if isinstance(blocks, nn.ModuleList) else ():
            fully_shard(block, mesh=data)
    fully_shard(module, mesh=data, reshard_after_forward=False)
    return module


def whole(tensor: Tensor) -> Tensor:
    """A tensor in one piece: one that is split is gathered, which takes all processes."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def is_split(module: nn.Module) -> bool:
    """Whether any parameter lies on several devices in parts."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A tensor of the other's shape split and laid out in memory as that one is; another as it is."""
    if tensor.shape != other.shape or isinstance(tensor, DTensor):
        return tensor
    if isinstance(other, DTensor):
        return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)
    return torch.empty_like(other, dtype=tensor.dtype).copy_(tensor)
