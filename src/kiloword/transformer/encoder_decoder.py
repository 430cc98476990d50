"""Encoder-decoder: the first stack sees only rows that are fed something, the second one all of them.

He et al. 2021 (Masked Autoencoders); with learned places and rows of the prompt as a buffer, Li et al. 2024 (MAR).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kiloword.transformer.cache import Cache
from kiloword.transformer.norm import LayerNormConfig, RMSNormConfig
from kiloword.transformer.rows import Stream, at
from kiloword.transformer.stack import StackConfig

# Axes: b rows of the batch, t places in a row, n of them that come out, k filled places at most, w width.


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

    def forward(self, stream: Stream, cache: Cache | None = None) -> Float[Tensor, "b n w"]:
        if cache is not None:
            raise ValueError("an encoder-decoder sees all rows anew at every step: it takes no cache")
        if stream.context is not None or stream.hidden_guidance is not None:
            raise ValueError("an encoder-decoder attends to no context, and its views are summed up at the output only")
        encoded, chosen, there = self.encode(stream)
        seen, place = self.bridge(encoded), self._place(stream)
        rows = self.unfilled.to(seen).expand(*place.shape, -1).clone()
        rows[there.nonzero()[:, 0], chosen[there]] = seen[there]
        return self.decoder(replace(all_see_all(stream), vectors=rows + self.decoder_places(place)))

    def encode(self, stream: Stream) -> tuple[Float[Tensor, "b k w"], Int[Tensor, "b k"], Bool[Tensor, "b k"]]:
        """The first stack's hidden vectors, of which rows they are, and which of the k there are."""
        entered = self.entry_norm(stream.vectors + self.encoder_places(self._place(stream)))
        filled = torch.ones(entered.shape[:2], dtype=torch.bool, device=entered.device)
        for without in (stream.filled, stream.present):
            filled = filled if without is None else filled & without
        chosen, there = first_filled(filled)
        return self.encoder(all_see_all(picked(stream, entered, chosen, there))), chosen, there

    def _place(self, stream: Stream) -> Int[Tensor, "b t"]:
        """Rows of the prompt, the first span, by their time; those of the picture behind them, by row and column."""
        time, _, y, x = stream.positions.long().unbind(-1)
        (rows, columns), buffer = self.config.grid, self.config.buffer
        picture = time >= buffer if stream.span is None else stream.span > 0
        wrong = torch.where(picture, (y < 0) | (y >= rows) | (x < 0) | (x >= columns), (time < 0) | (time >= buffer))
        wrong = wrong if stream.present is None else wrong & stream.present
        place = torch.where(picture, buffer + y * columns + x, time)
        if bool(wrong.any()):
            came = ", ".join(f"{value:g}" for value in stream.positions[wrong][0, [0, 2, 3]].tolist())
            raise ValueError(
                f"this encoder-decoder has learned a prompt of {self.config.buffer} rows and a picture of "
                f"{self.config.grid} tokens; a row came whose time, y and x are {came}"
            )
        return place.clamp(0, self.encoder_places.num_embeddings - 1)  # absent rows stand anywhere


def all_see_all(stream: Stream) -> Stream:
    """All rows of a sample in one span that is not causal; without a mask, if there is nothing but one sample a row."""
    if stream.sample is None and (stream.present is None or bool(stream.present.all())):
        return Stream(stream.vectors, stream.positions, modulation=stream.modulation, asked=stream.asked)
    zeros = torch.zeros(stream.vectors.shape[:2], dtype=torch.long, device=stream.vectors.device)
    return replace(stream, span=zeros, step=zeros, causal=zeros > 0)


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
    sample = None if stream.sample is None else at(stream.sample, chosen)
    places = at(stream.positions, chosen)
    return Stream(at(vectors, chosen), places, sample, present=there, modulation=stream.modulation)
