"""Norms: RMSNorm (Zhang and Sennrich 2019), LayerNorm (Ba et al. 2016), and unit length for cosine attention."""

import math
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


@dataclass(frozen=True)
class UnitConfig:
    """Queries and keys of length 1; the queries of each head times a learned factor, which is at most `limit`.

    Cosine attention as in Liu et al. 2021 (Swin V2), in the form of Tian et al. 2024 (VAR).
    """

    limit: float = 100.0
    initial: float = 4.0

    def build(self, head_dim: int) -> nn.Module:
        raise ValueError("vectors of length 1 are for queries and keys: name it as an attention's query_norm")


class UnitQueries(nn.Module):
    """Length 1, times exp(min(scale, ln limit)) sqrt(d): the root undoes the division in the softmax."""

    def __init__(self, config: UnitConfig, heads: int, head_dim: int):
        super().__init__()
        self.max_scale, self.root = math.log(config.limit), math.sqrt(head_dim)
        self.scale = nn.Parameter(torch.full((heads, 1), math.log(config.initial)))

    def factor(self) -> Float[Tensor, "h 1"]:
        """The factor of the vectors of length 1, for each head."""
        return self.scale.clamp(max=self.max_scale).exp() * self.root

    def forward(self, x: Float[Tensor, "b q h d"]) -> Float[Tensor, "b q h d"]:
        return nn.functional.normalize(x, dim=-1) * self.factor()


class UnitKeys(nn.Module):
    """Length 1."""

    def forward(self, x: Float[Tensor, "b q h d"]) -> Float[Tensor, "b q h d"]:
        return nn.functional.normalize(x, dim=-1)
