"""The law of text tokenizers: words to ids and back, whoever learned the pieces that words are cut into.

Sennrich et al. 2015 for pieces of words; a language model brings its own (Gemma Team 2024).
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Int
from torch import Tensor

from kiloword.tokens.space import TokenSpace

# Axes: b texts, m text tokens.


@runtime_checkable
class Words(Protocol):
    """`end` is the id that ends a text; ids of shorter texts are filled up with it, and the mask does not count it."""

    end: int

    @property
    def space(self) -> TokenSpace: ...

    def encode(self, texts: list[str], limit: int) -> tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"]]: ...

    def decode(self, ids: list[int]) -> str: ...
