"""Entrances: what is added to a token's vector at the door of the transformer, and what stands where nothing is fed.

Learned places as in Vaswani et al. 2017 and Chen et al. 2020 (Image GPT), learned scales as in Tian et al. 2024 (VAR).
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
        """A module that turns (vectors [b, q, w], fed, layout) into the picture's rows [b, q, w]."""
        ...


@dataclass(frozen=True)
class LearnedEntranceConfig:
    """`places` is the number of learned places (0: none)."""

    places: int = 0

    def build(self, width: int) -> "LearnedEntrance":
        return LearnedEntrance(width, self.places)


class LearnedEntrance(nn.Module):
    """Adds a token's place in the picture, whether it is there, and its unknown share."""

    def __init__(self, width: int, places: int):
        super().__init__()
        self.place = nn.Embedding(max(1, places), width)
        self.start = nn.Parameter(torch.empty(width))
        self.unknown = nn.Parameter(torch.empty(width))
        self.places = places
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)

    def forward(self, vectors: Float[Tensor, "b q w"], fed: Fed, layout: Layout) -> Float[Tensor, "b q w"]:
        if 0 < self.places < layout.count:
            raise ValueError(f"the picture has {layout.count} tokens, this head has learned {self.places} places")
        vectors = torch.where(fed.real[..., None], vectors, self.start)
        place = fed.place if self.places else torch.zeros_like(fed.place)
        return vectors + self.place(place) + fed.level[..., None] * self.unknown


@dataclass(frozen=True)
class BareEntranceConfig:
    """Tokens as they are, and zeros where nothing is fed: the prompt's `start` stands there (LlamaGen, MAR)."""

    def build(self, width: int) -> "BareEntrance":
        return BareEntrance()


class BareEntrance(nn.Module):
    """Nothing is added."""

    def forward(self, vectors: Float[Tensor, "b q w"], fed: Fed, layout: Layout) -> Float[Tensor, "b q w"]:
        return torch.where(fed.real[..., None], vectors, 0)


@dataclass(frozen=True)
class AxialEntranceConfig:
    """Learned `rows` and `columns`, and zeros where nothing is fed (Ramesh et al. 2021, DALL-E, figure 10)."""

    rows: int
    columns: int

    def build(self, width: int) -> "AxialEntrance":
        return AxialEntrance(self, width)


class AxialEntrance(nn.Module):
    """Adds the learned vectors of the row and of the column that are asked for, each learned by itself."""

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
        placed = vectors + self.row(fed.place // columns) + self.column(fed.place % columns)
        return torch.where(fed.real[..., None], placed, 0)


@dataclass(frozen=True)
class SeatedEntranceConfig:
    """`places` learned places, of all grids together, and `scales` learned scales (0: none); a learned start."""

    places: int
    scales: int = 0

    def build(self, width: int) -> "SeatedEntrance":
        return SeatedEntrance(self, width)


class SeatedEntrance(nn.Module):
    """Adds the learned vectors of the place, and of the grid, that a row asks for."""

    def __init__(self, config: SeatedEntranceConfig, width: int):
        super().__init__()
        self.config = config
        self.start = nn.Parameter(torch.empty(width))
        self.place = nn.Embedding(config.places, width)
        self.scale = nn.Embedding(config.scales, width) if config.scales else None
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)

    def forward(self, vectors: Float[Tensor, "b q w"], fed: Fed, layout: Layout) -> Float[Tensor, "b q w"]:
        if layout.count != self.config.places:
            places = self.config.places
            raise ValueError(f"the picture has {layout.count} tokens, this head has learned {places} places")
        placed = torch.where(fed.real[..., None], vectors, self.start) + self.place(fed.place)
        if self.scale is None:
            return placed
        scale = layout.positions()[:, 0].long().to(fed.place.device)
        return placed + self.scale(scale[fed.place])


@dataclass(frozen=True)
class ScaleEntranceConfig:
    """`scales` learned grids, no places, and a learned start (Han et al. 2024, Infinity)."""

    scales: int

    def build(self, width: int) -> "ScaleEntrance":
        return ScaleEntrance(self, width)


class ScaleEntrance(nn.Module):
    """Adds the learned vector of the grid that a row asks for, so that pictures may have any shape."""

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
        scale = layout.positions()[:, 0].long().to(fed.place.device)
        return torch.where(fed.real[..., None], vectors, self.start) + self.scale(scale[fed.place])
