"""Entrances: what is added to a token's embedding, such as position embeddings, and the vector where nothing is fed.

Learned positions as in Vaswani et al. 2017 and Chen et al. 2020 (Image GPT), learned scales as in Tian et al. 2024
(VAR).
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kiloword.tokens import Fed, Layout

# Axes: b pictures, q tokens, w width.


class EntranceConfig(Protocol):
    """The settings that an entrance is built from."""

    def build(self, width: int) -> nn.Module:
        """A module from (embeddings [b, q, w], fed, layout) to the transformer's input [b, q, w]."""
        ...


@dataclass(frozen=True)
class LearnedEntranceConfig:
    """`positions`: how many position embeddings are learned (0: none)."""

    positions: int = 0

    def build(self, width: int) -> "LearnedEntrance":
        return LearnedEntrance(width, self.positions)


class LearnedEntrance(nn.Module):
    """Adds a learned position embedding and the level times a learned vector; a learned start where nothing is fed."""

    def __init__(self, width: int, positions: int):
        super().__init__()
        self.place = nn.Embedding(max(1, positions), width)
        self.start = nn.Parameter(torch.empty(width))
        self.unknown = nn.Parameter(torch.empty(width))
        self.positions = positions
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)

    def forward(self, vectors: Float[Tensor, "b q w"], fed: Fed, layout: Layout) -> Float[Tensor, "b q w"]:
        if 0 < self.positions < layout.count:
            raise ValueError(f"the picture has {layout.count} tokens, this head has learned {self.positions} positions")
        vectors = torch.where(fed.real[..., None], vectors, self.start)
        place = fed.index if self.positions else torch.zeros_like(fed.index)
        return vectors + self.place(place) + fed.level[..., None] * self.unknown


@dataclass(frozen=True)
class BareEntranceConfig:
    """Embeddings as they are, zeros where nothing is fed: the prompt's `start` is added there (LlamaGen, MAR)."""

    def build(self, width: int) -> "BareEntrance":
        return BareEntrance()


class BareEntrance(nn.Module):
    """Nothing is added."""

    def forward(self, vectors: Float[Tensor, "b q w"], fed: Fed, layout: Layout) -> Float[Tensor, "b q w"]:
        return torch.where(fed.real[..., None], vectors, 0)


@dataclass(frozen=True)
class AxialEntranceConfig:
    """Learned embeddings of `rows` and `columns`, zeros where nothing is fed (Ramesh et al. 2021, DALL-E, figure
    10)."""

    rows: int
    columns: int

    def build(self, width: int) -> "AxialEntrance":
        return AxialEntrance(self, width)


class AxialEntrance(nn.Module):
    """Adds the embeddings of the picture row and the column of the token that is predicted."""

    def __init__(self, config: AxialEntranceConfig, width: int):
        super().__init__()
        self.config = config
        self.row, self.column = nn.Embedding(config.rows, width), nn.Embedding(config.columns, width)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)

    def forward(self, vectors: Float[Tensor, "b q w"], fed: Fed, layout: Layout) -> Float[Tensor, "b q w"]:
        (rows, columns), config = layout.sizes[-1], self.config
        if len(layout.sizes) > 1 or rows > config.rows or columns > config.columns:
            learned = config.rows, config.columns
            raise ValueError(f"the picture has grids {layout.sizes}, this head has learned one of {learned}")
        placed = vectors + self.row(fed.index // columns) + self.column(fed.index % columns)
        return torch.where(fed.real[..., None], placed, 0)


@dataclass(frozen=True)
class PositionEntranceConfig:
    """`positions` learned position embeddings, of all grids together, and `scales` of the grids (0: none); a learned
    start where nothing is fed."""

    positions: int
    scales: int = 0

    def build(self, width: int) -> "PositionEntrance":
        return PositionEntrance(self, width)


class PositionEntrance(nn.Module):
    """Adds the learned embeddings of the position, and of the grid, of the token that is predicted."""

    def __init__(self, config: PositionEntranceConfig, width: int):
        super().__init__()
        self.config = config
        self.start = nn.Parameter(torch.empty(width))
        self.place = nn.Embedding(config.positions, width)
        self.scale = nn.Embedding(config.scales, width) if config.scales else None
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)

    def forward(self, vectors: Float[Tensor, "b q w"], fed: Fed, layout: Layout) -> Float[Tensor, "b q w"]:
        if layout.count != self.config.positions:
            positions = self.config.positions
            raise ValueError(f"the picture has {layout.count} tokens, this head has learned {positions} positions")
        placed = torch.where(fed.real[..., None], vectors, self.start) + self.place(fed.index)
        if self.scale is None:
            return placed
        scale = layout.positions()[:, 0].long().to(fed.index.device)
        return placed + self.scale(scale[fed.index])


@dataclass(frozen=True)
class ScaleEntranceConfig:
    """`scales` learned grid embeddings, no positions, and a learned start (Han et al. 2024, Infinity)."""

    scales: int

    def build(self, width: int) -> "ScaleEntrance":
        return ScaleEntrance(self, width)


class ScaleEntrance(nn.Module):
    """Adds the learned embedding of the grid of the token that is predicted, so that pictures may have any shape."""

    def __init__(self, config: ScaleEntranceConfig, width: int):
        super().__init__()
        self.start = nn.Parameter(torch.empty(width))
        self.scale = nn.Embedding(config.scales, width)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)

    def forward(self, vectors: Float[Tensor, "b q w"], fed: Fed, layout: Layout) -> Float[Tensor, "b q w"]:
        if len(layout.sizes) > self.scale.num_embeddings:
            learned = self.scale.num_embeddings
            raise ValueError(f"the picture has {len(layout.sizes)} grids, this head has learned {learned}")
        scale = layout.positions()[:, 0].long().to(fed.index.device)
        return torch.where(fed.real[..., None], vectors, self.start) + self.scale(scale[fed.index])
