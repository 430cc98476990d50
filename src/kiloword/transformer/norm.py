"""Norms: RMSNorm (Zhang and Sennrich 2019) and LayerNorm (Ba et al. 2016)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class RMSNormConfig:
    """Divide by the root mean square, then multiply by a learned gain."""

    eps: float = 1e-6

    def build(self, width: int) -> nn.Module:
        return RMSNorm(self, width)


class RMSNorm(nn.Module):
    """Normalised in the precision of the residual stream, returned in the precision of the matrices."""

    def __init__(self, config: RMSNormConfig, width: int):
        super().__init__()
        self.eps = config.eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*b w"]) -> Float[Tensor, "*b w"]:
        weight = self.weight if self.weight.dtype is x.dtype else self.weight.to(x.dtype)
        return nn.functional.rms_norm(x, weight.shape, weight, self.eps)


@dataclass(frozen=True)
class LayerNormConfig:
    """Subtract the mean, divide by the deviation; `affine` adds a learned gain and bias."""

    eps: float = 1e-6
    affine: bool = True

    def build(self, width: int) -> nn.Module:
        return nn.LayerNorm(width, eps=self.eps, elementwise_affine=self.affine)
