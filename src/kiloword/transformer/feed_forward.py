"""Feed-forward networks: SwiGLU and GeGLU (Shazeer 2020), and the GELU network (Hendrycks and Gimpel 2016)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kiloword.transformer.norm import LayerNormConfig, RMSNormConfig


@dataclass(frozen=True)
class SwiGLUConfig:
    """out(silu(gate x) * (up x)) without biases."""

    hidden: int

    @classmethod
    def beside(cls, width: int) -> "SwiGLUConfig":
        """As many weights as the two-matrix network with 4 * width hidden units (section 2), in multiples of 32."""
        return cls(width * 8 // 3 // 32 * 32)

    def build(self, width: int) -> nn.Module:
        return SwiGLU(self, width)


class SwiGLU(nn.Module):
    """Gate and up projections in one matrix, gate first."""

    def __init__(self, config: SwiGLUConfig, width: int):
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * config.hidden, bias=False)
        self.out = nn.Linear(config.hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "*b w"]) -> Float[Tensor, "*b w"]:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.out(functional.silu(gate) * up)


@dataclass(frozen=True)
class GemmaGLUConfig:
    """out(gelu(gate x) * (up x)) without biases, GELU by tanh (Gemma Team 2024)."""

    hidden: int

    def build(self, width: int) -> nn.Module:
        return GemmaGLU(self, width)


class GemmaGLU(nn.Module):
    """Gate and up projections in one matrix, gate first."""

    def __init__(self, config: GemmaGLUConfig, width: int):
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * config.hidden, bias=False)
        self.out = nn.Linear(config.hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "*b w"]) -> Float[Tensor, "*b w"]:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.out(functional.gelu(gate, approximate="tanh") * up)


@dataclass(frozen=True)
class GELUConfig:
    """out(gelu(up x)); `approximate` is "none" (erf), "tanh" or "quick" (x sigmoid(1.702 x), Image GPT's)."""

    hidden: int
    approximate: str = "tanh"
    bias: bool = True

    def __post_init__(self):
        if self.approximate not in ("none", "tanh", "quick"):
            raise ValueError(f'GELU is approximated by "none", "tanh" or "quick", got {self.approximate!r}')

    def build(self, width: int) -> nn.Module:
        return GELU(self, width)


class GELU(nn.Module):
    """The two-matrix network of Vaswani et al. 2017 with GELU between."""

    def __init__(self, config: GELUConfig, width: int):
        super().__init__()
        self.up = nn.Linear(width, config.hidden, bias=config.bias)
        self.out = nn.Linear(config.hidden, width, bias=config.bias)
        self.approximate = config.approximate

    def forward(self, x: Float[Tensor, "*b w"]) -> Float[Tensor, "*b w"]:
        if self.approximate == "quick":
            up = self.up(x)
            return self.out(up * torch.sigmoid(1.702 * up))
        return self.out(functional.gelu(self.up(x), approximate=self.approximate))


@dataclass(frozen=True)
class GeGLUConfig:
    """out(gelu(gate n(x)) * (up n(x))) with biases and an inner norm n, as in ViTamin (Chen et al. 2023)."""

    hidden: int
    norm: RMSNormConfig | LayerNormConfig = LayerNormConfig()

    def build(self, width: int) -> nn.Module:
        return GeGLU(self, width)


class GeGLU(nn.Module):
    """Gate and up projections in one matrix, gate first; GELU by tanh."""

    def __init__(self, config: GeGLUConfig, width: int):
        super().__init__()
        self.norm = config.norm.build(width)
        self.gate_up = nn.Linear(width, 2 * config.hidden)
        self.out = nn.Linear(config.hidden, width)

    def forward(self, x: Float[Tensor, "*b w"]) -> Float[Tensor, "*b w"]:
        gate, up = self.gate_up(self.norm(x)).chunk(2, dim=-1)
        return self.out(functional.gelu(gate, approximate="tanh") * up)
