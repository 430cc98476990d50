"""How the blocks are conditioned on the level of a part-noised token: by addition to its input, or by modulation.

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
    """The embedding of a level from 0 to 1."""

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WAVES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, level: Float[Tensor, "b q"]) -> Float[Tensor, "b q w"]:
        return self.net(waves(TIMES * level))


@dataclass(frozen=True)
class AddedLevelConfig:
    """The level's embedding is added to the input, for stacks without adaptive layer norm."""

    def build(self) -> "AddedLevel":
        return AddedLevel()


class AddedLevel(nn.Module):
    """(what is added to the input, what modulates the blocks): the embedding and None."""

    modulates = False

    def forward(self, embedding: Float[Tensor, "b q w"]) -> tuple[Tensor | None, Tensor | None]:
        return embedding, None


@dataclass(frozen=True)
class ModulatingLevelConfig:
    """The level's embedding modulates the blocks, for stacks with adaptive layer norm."""

    def build(self) -> "ModulatingLevel":
        return ModulatingLevel()


class ModulatingLevel(nn.Module):
    """(what is added to the input, what modulates the blocks): None and the embedding."""

    modulates = True

    def forward(self, embedding: Float[Tensor, "b q w"]) -> tuple[Tensor | None, Tensor | None]:
        return None, embedding
