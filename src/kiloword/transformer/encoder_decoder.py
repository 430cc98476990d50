"""Encoder-decoder: the first stack sees only rows that are fed something, the second one all of them.

He et al. 2021 (Masked Autoencoders); with learned places and rows of the prompt as a buffer, Li et al. 2024 (MAR).
"""

from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kiloword.transformer.cache import Cache
from kiloword.transformer.norm import LayerNormConfig, RMSNormConfig
from kiloword.transformer.rows import Stream
from kiloword.transformer.stack import StackConfig

# Axes: b rows of the batch, t places in a row, k filled places at most, w width.


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """Two stacks for a prompt of `buffer` rows and pictures of `grid` rows and columns; `norm` is that at the entry."""

    encoder: StackConfig
    decoder: StackConfig
    buffer: int
    grid: tuple[int, int]
    norm: RMSNormConfig | LayerNormConfig = LayerNormConfig()

    def __post_init__(self):
        object.__setattr__(self, "grid", tuple(self.grid))
        if self.encoder.width != self.decoder.width:
            raise ValueError(f"both stacks need one width, got {self.encoder.width} and {self.decoder.width}")

    def build(self) -> "EncoderDecoder":
        return EncoderDecoder(self)


class EncoderDecoder(nn.Module):
    """All rows of a sample see each other, so nothing can be kept in a cache and no order can be causal."""

    causal = False

    def __init__(self, config: EncoderDecoderConfig):
        super().__init__()
        self.config, width = config, config.encoder.width
        places = config.buffer + config.grid[0] * config.grid[1]
        self.encoder_places = nn.Embedding(places, width)
        self.decoder_places = nn.Embedding(places, width)
        self.entry_norm = config.norm.build(width)
        self.encoder, self.decoder = config.encoder.build(), config.decoder.build()
        self.bridge = nn.Linear(width, width)
        self.unfilled = nn.Parameter(torch.empty(width))
        for parameter in (self.encoder_places.weight, self.decoder_places.weight, self.unfilled):
            nn.init.normal_(parameter, std=0.02)

    @property
    def width(self) -> int:
        return self.config.encoder.width

    def cache(self, rows: int, capacity: int) -> Cache:
        raise ValueError("an encoder-decoder sees all rows anew at every step: it keeps no cache")

    def forward(self, stream: Stream, cache: Cache | None = None) -> Float[Tensor, "b t w"]:
        if cache is not None:
            raise ValueError("an encoder-decoder sees all rows anew at every step: it takes no cache")
        place = self._place(stream.positions)
        whole = replace(stream, span=torch.zeros_like(place), step=torch.zeros_like(place), causal=place < 0)
        entered = self.entry_norm(stream.vectors + self.encoder_places(place))
        filled = torch.ones_like(place, dtype=torch.bool) if stream.filled is None else stream.filled
        filled = filled if stream.present is None else filled & stream.present
        chosen, there = first_filled(filled)
        seen = self.bridge(self.encoder(picked(whole, entered, chosen, there)))
        rows = self.unfilled.to(seen).expand(*place.shape, -1).clone()
        rows[there.nonzero()[:, 0], chosen[there]] = seen[there]
        return self.decoder(replace(whole, vectors=rows + self.decoder_places(place)))

    def _place(self, positions: Float[Tensor, "b t 4"]) -> Int[Tensor, "b t"]:
        """Rows of the prompt by their time, then the picture's by row and column."""
        time, _, y, x = positions.long().unbind(-1)
        columns, most = self.config.grid[1], self.encoder_places.num_embeddings
        place = time + y * columns + x
        if int(place.max()) >= most or int(x.max()) >= columns:
            raise ValueError(
                f"this encoder-decoder has learned a prompt of {self.config.buffer} rows and a picture of "
                f"{self.config.grid} tokens; a row at {int(place.max())} of {most} places came"
            )
        return place


def first_filled(filled: Bool[Tensor, "b t"]) -> tuple[Int[Tensor, "b k"], Bool[Tensor, "b k"]]:
    """The filled places of every row, in their order, and which of the k are filled where rows have fewer."""
    counts = filled.sum(1)
    most = max(1, int(counts.max()))
    chosen = (~filled).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    return chosen, torch.arange(most, device=filled.device) < counts[:, None]


def picked(
    stream: Stream, vectors: Float[Tensor, "b t w"], chosen: Int[Tensor, "b k"], there: Bool[Tensor, "b k"]
) -> Stream:
    """The chosen rows of a stream by themselves."""
    rows = torch.arange(len(chosen), device=chosen.device)[:, None]
    if stream.sample is None and bool(there.all()):  # all see all
        return Stream(vectors[rows, chosen], stream.positions[rows, chosen], modulation=stream.modulation)
    names = ("positions", "span", "step", "causal") + (("sample",) if stream.sample is not None else ())
    fields = {name: cast(Tensor, getattr(stream, name))[rows, chosen] for name in names}
    return replace(stream, vectors=vectors[rows, chosen], present=there, filled=None, **fields)
