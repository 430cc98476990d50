"""The law of text tokenizers: texts to ids and back.

Sennrich et al. 2015 for subwords; a pretrained language model comes with its own (Gemma Team 2024).
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Int
from torch import Tensor

from kiloword.tokens.space import TokenSpace

# Axes: b texts, m text tokens.


@runtime_checkable
class Words(Protocol):
    """`end` is the id that ends a text and pads shorter ones; the mask is false at padding."""

    end: int

    @property
    def space(self) -> TokenSpace: ...

    def encode(self, texts: list[str], limit: int) -> tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"]]: ...

    def decode(self, ids: list[int]) -> str: ...
