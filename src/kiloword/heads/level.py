"""How the blocks are told the level of a part-noised token: added to its row, or modulating it.

A vector of the level added: Zhou et al. 2024 (Transfusion); shifts, scales and gates made of it: Peebles and Xie 2022
(DiT). The level's waves are those of Nichol and Dhariwal 2021.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from kiloword.heads.denoising_mlp import WAVES, waves
from kiloword.heads.flow import TIMES

# Axes: b pictures, q tokens, w width.


class Level(nn.Module):
    """A level from 0 to 1 as a vector."""

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WAVES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, level: Float[Tensor, "b q"]) -> Float[Tensor, "b q w"]:
        return self.net(waves(TIMES * level))


@dataclass(frozen=True)
class AddedLevelConfig:
    """For stacks that nothing modulates."""

    def build(self) -> "AddedLevel":
        return AddedLevel()


class AddedLevel(nn.Module):
    """Of a level's vector, what is added to the row and what modulates it: all and nothing."""

    modulates = False

    def forward(self, told: Float[Tensor, "b q w"]) -> tuple[Tensor | None, Tensor | None]:
        return told, None


@dataclass(frozen=True)
class ModulatingLevelConfig:
    """For stacks whose blocks are modulated."""

    def build(self) -> "ModulatingLevel":
        return ModulatingLevel()


class ModulatingLevel(nn.Module):
    """Of a level's vector, what is added to the row and what modulates it: nothing and all."""

    modulates = True

    def forward(self, told: Float[Tensor, "b q w"]) -> tuple[Tensor | None, Tensor | None]:
        return None, told
