"""Linear patches: a linear embedding of part-noised tokens, and a linear map from hidden vectors to velocities.

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
    """What is required of patches: from tokens to the transformer's input, and from hidden vectors back.

    `whole`: all tokens of a picture must enter together. `level` is the embedding of each token's level. `enter` gives
    the input and what `leave` needs again, such as a U-Net's skip connections.
    """

    whole: bool

    def enter(
        self, tokens: Float[Tensor, "b q c"], level: Float[Tensor, "b q w"], layout: Layout
    ) -> tuple[Float[Tensor, "b q w"], Any]: ...

    def leave(
        self, hidden: Float[Tensor, "v b q w"], skips: Any, level: Float[Tensor, "b q w"], layout: Layout
    ) -> Float[Tensor, "v b q c"]: ...


@dataclass(frozen=True)
class LinearPatchesConfig:
    """Nothing to set."""

    def build(self, dim: int, width: int) -> "LinearPatches":
        return LinearPatches(dim, width)


class LinearPatches(nn.Module):
    """Each token on its own."""

    whole = False

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.entrance, self.output = nn.Linear(dim, width), nn.Linear(width, dim)
        nn.init.normal_(self.output.weight, std=0.1 * width**-0.5)
        nn.init.zeros_(self.output.bias)

    def enter(
        self, tokens: Float[Tensor, "b q c"], level: Float[Tensor, "b q w"], layout: Layout
    ) -> tuple[Float[Tensor, "b q w"], None]:
        return self.entrance(tokens), None

    def leave(
        self, hidden: Float[Tensor, "v b q w"], skips: None, level: Float[Tensor, "b q w"], layout: Layout
    ) -> Float[Tensor, "v b q c"]:
        return self.output(hidden)
