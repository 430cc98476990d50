"""Embeddings of tokens that are several codes: one vector for all codes of a token.

Ma et al. 2025 (UniTok, section 3.3): summed embeddings in its LlamaGen, the tokenizer's own codes projected in its
language model.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from kiloword.tokens import Codes

# Axes: b pictures, q tokens, k codes of a token, w width.


@dataclass(frozen=True)
class SummedCodesConfig:
    """A learned embedding for every code of every codebook; a token's embedding is their sum."""

    def build(self, space: Codes, width: int) -> "SummedCodes":
        return SummedCodes(space, width)


class SummedCodes(nn.Module):
    """One embedding table, all codebooks stacked."""

    offsets: Tensor

    def __init__(self, space: Codes, width: int):
        super().__init__()
        self.register_buffer("offsets", offsets(space.sizes), persistent=False)
        self.weight = nn.Parameter(torch.empty(sum(space.sizes), width))
        nn.init.normal_(self.weight, std=0.5 * len(space.sizes) ** -0.5)

    def forward(self, tokens: Int[Tensor, "b q k"]) -> Float[Tensor, "b q w"]:
        return embedding(tokens + self.offsets, self.weight).sum(-2)


@dataclass(frozen=True)
class ProjectedCodesConfig:
    """A codebook's code is a direction of `code_dim` numbers, as the tokenizer has it; those of a token stand side by
    side, are normalised and go through a two-layer network."""

    code_dim: int

    def __post_init__(self):
        if self.code_dim < 1:
            raise ValueError(f"a code has at least 1 number, got {self.code_dim}")

    def build(self, space: Codes, width: int) -> "ProjectedCodes":
        return ProjectedCodes(self, space, width)


class ProjectedCodes(nn.Module):
    """A trainable copy of the tokenizer's codebooks, stacked, and a connector (two-layer network)."""

    offsets: Tensor

    def __init__(self, config: ProjectedCodesConfig, space: Codes, width: int):
        super().__init__()
        self.register_buffer("offsets", offsets(space.sizes), persistent=False)
        self.weight = nn.Parameter(normalize(torch.randn(sum(space.sizes), config.code_dim), dim=-1))
        inside = len(space.sizes) * config.code_dim
        self.norm = nn.LayerNorm(inside, eps=1e-6)
        self.up, self.out = nn.Linear(inside, width), nn.Linear(width, width)

    def forward(self, tokens: Int[Tensor, "b q k"]) -> Float[Tensor, "b q w"]:
        codes = normalize(embedding(tokens + self.offsets, self.weight), dim=-1)
        return self.out(nn.functional.gelu(self.up(self.norm(codes.flatten(-2)))))


def offsets(sizes: tuple[int, ...]) -> Int[Tensor, "k"]:
    """The first row of each codebook in the stacked table."""
    return torch.tensor([sum(sizes[:book]) for book in range(len(sizes))], dtype=torch.long)
