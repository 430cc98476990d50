"""Fed: the input of some positions of the transformer, as an order gives it to a head.

The token before (van den Oord et al. 2016), the canvas decoded so far (Tian et al. 2024), the token itself, a
part-noised latent (Zhou et al. 2024), or nothing.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

# Axes: b pictures, q positions.


@dataclass(frozen=True)
class Fed:
    """The inputs of `q` positions: `tokens` [b, q, ...], which of them are `real` (False: nothing is fed), their level
    (the unknown share, 0 known to 1 unknown), and `index`, the layout's index of the token that each position predicts.

    Orders that feed the canvas put its vectors [b, q, channels] in place of tokens. `to` is the level that a denoising
    step leads to.
    """

    tokens: Tensor
    real: Bool[Tensor, "b q"]
    level: Float[Tensor, "b q"]
    index: Int[Tensor, "b q"]
    to: Float[Tensor, "b q"] | None = None
