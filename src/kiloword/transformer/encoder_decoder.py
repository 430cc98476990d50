"""Encoder-decoder: the encoder has only the unmasked positions, the decoder all of them.

He et al. 2021 (Masked Autoencoders); with learned position embeddings and the prompt as a buffer, Li et al. 2024
(MAR).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kiloword.transformer.cache import Cache, KeyValueCache
from kiloword.transformer.norm import LayerNormConfig, RMSNormConfig
from kiloword.transformer.stack import StackConfig
from kiloword.transformer.stream import Stream, at

# Axes: b batch, t positions, n of the query index or all t, k filled positions at most, w width.


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """Two stacks for a prompt of `buffer` positions and pictures of `grid` = (rows, columns) tokens; `norm` is applied
    to what enters the encoder."""

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
    """A masked autoencoder. All positions of a sample attend to each other, so it has no cache and no causal order."""

    causal = cross_attends = modulated = False

    def __init__(self, config: EncoderDecoderConfig):
        super().__init__()
        self.config, width = config, config.encoder.width
        count = config.buffer + config.grid[0] * config.grid[1]
        self.encoder_positions = nn.Embedding(count, width)
        self.decoder_positions = nn.Embedding(count, width)
        self.entry_norm = config.norm.build(width)
        self.encoder, self.decoder = config.encoder.build(), config.decoder.build()
        self.bridge = nn.Linear(width, width)
        self.unfilled = nn.Parameter(torch.empty(width))
        for parameter in (self.encoder_positions.weight, self.decoder_positions.weight, self.unfilled):
            nn.init.normal_(parameter, std=0.02)

    @property
    def width(self) -> int:
        return self.config.encoder.width

    def cache(self, batch: int, capacity: int) -> KeyValueCache:
        raise ValueError("an encoder-decoder encodes all positions anew at every step: it keeps no cache")

    def forward(self, stream: Stream, cache: Cache | None = None) -> Float[Tensor, "b n w"]:
        if cache is not None:
            raise ValueError("an encoder-decoder encodes all positions anew at every step: it takes no cache")
        if stream.context is not None or stream.hidden_guidance is not None:
            raise ValueError("an encoder-decoder has no cross-attention, and guidance at the output only")
        encoded, index, present = self.encode(stream)
        encoded, position_index = self.bridge(encoded), self._position_index(stream)
        vectors = self.unfilled.to(encoded).expand(*position_index.shape, -1).clone()
        vectors[present.nonzero()[:, 0], index[present]] = encoded[present]
        return self.decoder(replace(full_attention(stream), vectors=vectors + self.decoder_positions(position_index)))

    def encode(self, stream: Stream) -> tuple[Float[Tensor, "b k w"], Int[Tensor, "b k"], Bool[Tensor, "b k"]]:
        """The encoder's hidden vectors of the filled positions, the indices of these, and which of the k are
        present."""
        entered = self.entry_norm(stream.vectors + self.encoder_positions(self._position_index(stream)))
        filled = torch.ones(entered.shape[:2], dtype=torch.bool, device=entered.device)
        for without in (stream.filled, stream.present):
            filled = filled if without is None else filled & without
        index, present = filled_first(filled)
        return self.encoder(full_attention(selected(stream, entered, index, present))), index, present

    def _position_index(self, stream: Stream) -> Int[Tensor, "b t"]:
        """The index of each position embedding: of the prompt (the first span) by time, of the picture behind it by row
        and column. Raises ValueError for positions outside the learned ones."""
        time, _, y, x = stream.positions.long().unbind(-1)
        (rows, columns), buffer = self.config.grid, self.config.buffer
        picture = time >= buffer if stream.span is None else stream.span > 0
        wrong = torch.where(picture, (y < 0) | (y >= rows) | (x < 0) | (x >= columns), (time < 0) | (time >= buffer))
        wrong = wrong if stream.present is None else wrong & stream.present
        index = torch.where(picture, buffer + y * columns + x, time)
        if bool(wrong.any()):
            came = ", ".join(f"{value:g}" for value in stream.positions[wrong][0, [0, 2, 3]].tolist())
            raise ValueError(
                f"this encoder-decoder has learned a prompt of {self.config.buffer} positions and a picture of "
                f"{self.config.grid} tokens; got a position whose time, y and x are {came}"
            )
        return index.clamp(0, self.encoder_positions.num_embeddings - 1)  # padding may have any


def full_attention(stream: Stream) -> Stream:
    """The stream with each sample in one span that is not causal; without a mask where nothing is packed or padded."""
    if stream.sample is None and (stream.present is None or bool(stream.present.all())):
        return Stream(stream.vectors, stream.positions, modulation=stream.modulation, query_index=stream.query_index)
    zeros = torch.zeros(stream.vectors.shape[:2], dtype=torch.long, device=stream.vectors.device)
    return replace(stream, span=zeros, step=zeros, causal=zeros > 0)


def filled_first(filled: Bool[Tensor, "b t"]) -> tuple[Int[Tensor, "b k"], Bool[Tensor, "b k"]]:
    """The indices of each sequence's filled positions, in order, and which of the k are filled (not padding)."""
    counts = filled.sum(1)
    longest = max(1, int(counts.max()))
    index = (~filled).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    return index, torch.arange(longest, device=filled.device) < counts[:, None]


def selected(
    stream: Stream, vectors: Float[Tensor, "b t w"], index: Int[Tensor, "b k"], present: Bool[Tensor, "b k"]
) -> Stream:
    """The stream of the positions of `index` only."""
    sample = None if stream.sample is None else at(stream.sample, index)
    positions = at(stream.positions, index)
    return Stream(at(vectors, index), positions, sample, present=present, modulation=stream.modulation)
