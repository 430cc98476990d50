"""Muon: momentum whose update is orthogonalised, in the format of the weights.

Jordan et al. 2024 for the method and the five Newton-Schulz steps; Liu et al. 2025 (Muon is Scalable for LLM Training,
section 2.2) for the size of the step, that of AdamW. PyTorch's own works in bfloat16, which many CPUs emulate slowly;
this one stays in float32 there and takes all matrices of one shape at once.
"""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kiloword.training.precision import multiplies_bfloat16
from kiloword.training.scale import like, whole

# Axes: m matrices of one shape, r rows, c columns.

STEPS = ((3.4445, -4.7750, 2.0315),) * 5


class Muon(torch.optim.Optimizer):
    """For matrices only. `momentum` is Nesterov's."""

    def __init__(
        self, matrices: Iterable[nn.Parameter], lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95
    ):
        matrices = list(matrices)
        if any(matrix.ndim != 2 for matrix in matrices):
            raise ValueError(f"Muon takes matrices, got shapes {sorted({tuple(m.shape) for m in matrices})}")
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            alike = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape, matrix.device].append(matrix)
            for (shape, _), matrices in alike.items():
                pushes = [whole(self._push(m, group["momentum"])) for m in matrices]
                updates = orthogonal(torch.stack(pushes))  # of whole matrices: their shards have other updates
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(like(update, matrix), alpha=-rate)

    def _push(self, matrix: nn.Parameter, momentum: float) -> Tensor:
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(state["momentum_buffer"], momentum)


def orthogonal(matrices: Float[Tensor, "m r c"]) -> Float[Tensor, "m r c"]:
    """Nearly the closest matrices whose singular values are all 1 (they come out between 0.7 and 1.2)."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x.bfloat16() if multiplies_bfloat16(x.device) else x.float()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for a, b, c in STEPS:
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).to(matrices.dtype)
