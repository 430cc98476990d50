"""Activation: the function between the two matrices of a feed-forward network.

Shazeer 2020 (GLU variants); Hendrycks and Gimpel 2016 (GELU).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from kiloword.transformer import GELUConfig, GemmaGLUConfig, SwiGLUConfig

# Axes: r vectors, u outputs of the first matrix, k inputs of the last one.

Activation = Callable[[Tensor], Tensor]
KNOWN = SwiGLUConfig | GemmaGLUConfig | GELUConfig


def activation_of(config: Any) -> Activation:
    """The function from [r, u] to [r, k] of a feed-forward network whose config is `KNOWN`; it may overwrite its
    input."""
    if isinstance(config, GELUConfig):
        approximate = config.approximate
        return _quick if approximate == "quick" else partial(torch.ops.aten.gelu_, approximate=approximate)
    activation = silu if isinstance(config, SwiGLUConfig) else partial(gelu, approximate="tanh")

    def gated(x: Float[Tensor, "r u"]) -> Float[Tensor, "r k"]:
        gate, up = x.chunk(2, dim=1)
        return activation(gate).mul_(up)

    return gated


def first_of(network: Any) -> nn.Linear:
    """The first matrix of a feed-forward network."""
    return network.up if hasattr(network, "up") else network.gate_up


def _quick(x: Float[Tensor, "r u"]) -> Float[Tensor, "r u"]:
    return torch.mul(x, 1.702).sigmoid_().mul_(x)
