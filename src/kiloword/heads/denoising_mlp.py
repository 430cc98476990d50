"""Denoising MLP: residual blocks modulated by a time and a hidden vector, applied to every token on its own.

Li et al. 2024 (MAR, section 3.2); modulation as in Peebles and Xie 2022 (adaLN-Zero), time as in Nichol and Dhariwal
2021.
"""

import math

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

# Axes: c numbers of a token, o outputs, w width of the hidden vectors, h width of this network, k waves (cosine and
# sine of half as many frequencies). Time, tokens and hidden vectors may have any axes before, and broadcast.

WAVES = 256
PERIOD = 10000


class DenoisingMLP(nn.Module):
    """Predicts a token's noise (or velocity) from the noised token, the time and the hidden vector.

    Its output is initialised to zero, as published.
    """

    def __init__(self, dim: int, outputs: int, width: int, depth: int, hidden: int):
        super().__init__()
        self.input = _linear(dim, hidden)
        self.time = nn.Sequential(_linear(WAVES, hidden, 0.02), nn.SiLU(), _linear(hidden, hidden, 0.02))
        self.condition = _linear(width, hidden)
        self.blocks = nn.ModuleList(Block(hidden) for _ in range(depth))
        self.final = Final(hidden, outputs)

    def forward(
        self, noised: Float[Tensor, "*tokens c"], time: Num[Tensor, "*times"], hidden: Float[Tensor, "*hidden w"]
    ) -> Float[Tensor, "*all o"]:
        x, y = self.input(noised), nn.functional.silu(self.time(waves(time)) + self.condition(hidden))
        for block in self.blocks:
            x = block(x, y)
        return self.final(x, y)


class Block(nn.Module):
    """A residual block: norm and two layers; shifted, scaled and gated by y, which has gone through a SiLU."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(_linear(width, width), nn.SiLU(), _linear(width, width))
        self.modulation = _linear(width, 3 * width, 0)

    def forward(self, x: Float[Tensor, "*tokens h"], y: Float[Tensor, "*hidden h"]) -> Float[Tensor, "*all h"]:
        shift, scale, gate = self.modulation(y).chunk(3, dim=-1)
        return x + gate * self.mlp(self.norm(x) * (1 + scale) + shift)


class Final(nn.Module):
    """Norm and a linear layer to the outputs; shifted and scaled by y."""

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = _linear(width, 2 * width, 0)
        self.linear = _linear(width, outputs, 0)

    def forward(self, x: Float[Tensor, "*tokens h"], y: Float[Tensor, "*hidden h"]) -> Float[Tensor, "*all o"]:
        shift, scale = self.modulation(y).chunk(2, dim=-1)
        return self.linear(self.norm(x) * (1 + scale) + shift)


def _linear(inside: int, outside: int, std: float | None = None) -> nn.Linear:
    """A layer with normal weights of this standard deviation, or Xavier-uniform ones (Glorot and Bengio 2010)."""
    layer = nn.Linear(inside, outside)
    nn.init.xavier_uniform_(layer.weight) if std is None else nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


def waves(time: Num[Tensor, "*times"]) -> Float[Tensor, "*times k"]:
    """Sinusoidal embedding of the time: cosines, then sines, at frequencies from 1 down to almost 1 / PERIOD."""
    half = WAVES // 2
    frequencies = torch.exp(-math.log(PERIOD) * torch.arange(half, dtype=torch.float32, device=time.device) / half)
    angles = time[..., None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
