"""Fed: what the rows of some tokens are made of, agreed between an order and a head.

The token before (van den Oord et al. 2016), what has been painted so far (Tian et al. 2024), the token itself, a
part-noised latent (Zhou et al. 2024), or nothing.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

# Axes: b pictures, q tokens picked.


@dataclass(frozen=True)
class Fed:
    """What the picked tokens' rows are made of: a token each (where `real`), its unknown share, and their place.

    Orders that feed what has been painted so far put vectors [b, q, channels] in the tokens' stead. `to` is the unknown
    share that a step leads to, where it leads only a part of the way.
    """

    tokens: Tensor
    real: Bool[Tensor, "b q"]
    level: Float[Tensor, "b q"]
    place: Int[Tensor, "b q"]
    to: Float[Tensor, "b q"] | None = None
