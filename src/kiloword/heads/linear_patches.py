"""Linear patches: one matrix from a part-noised token to its row, and one from the hidden vector to its velocity.

Zhou et al. 2024 (Transfusion, section 3.1); Peebles and Xie 2022 (DiT). A token may hold several latents: see
`tokenizers/patched.py`.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from kiloword.tokens import Layout

# Axes: v views, b pictures, q tokens, c numbers of a token, w width.


@runtime_checkable
class Patches(Protocol):
    """The law of patches: rows from tokens and back. Where they are `whole`, all tokens of a picture go in together.

    `told` is the vector of each token's level; what `enter` says beside the rows is wanted again by `leave`.
    """

    whole: bool

    def enter(
        self, tokens: Float[Tensor, "b q c"], told: Float[Tensor, "b q w"], layout: Layout
    ) -> tuple[Float[Tensor, "b q w"], Any]: ...

    def leave(
        self, hidden: Float[Tensor, "v b q w"], skips: Any, told: Float[Tensor, "b q w"], layout: Layout
    ) -> Float[Tensor, "v b q c"]: ...


@dataclass(frozen=True)
class LinearPatchesConfig:
    """Nothing to choose."""

    def build(self, dim: int, width: int) -> "LinearPatches":
        return LinearPatches(dim, width)


class LinearPatches(nn.Module):
    """Each token for itself."""

    whole = False

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.entrance, self.output = nn.Linear(dim, width), nn.Linear(width, dim)
        nn.init.normal_(self.output.weight, std=0.1 * width**-0.5)
        nn.init.zeros_(self.output.bias)

    def enter(
        self, tokens: Float[Tensor, "b q c"], told: Float[Tensor, "b q w"], layout: Layout
    ) -> tuple[Float[Tensor, "b q w"], None]:
        return self.entrance(tokens), None

    def leave(
        self, hidden: Float[Tensor, "v b q w"], skips: None, told: Float[Tensor, "b q w"], layout: Layout
    ) -> Float[Tensor, "v b q c"]:
        return self.output(hidden)
