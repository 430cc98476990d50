"""Hidden guidance: guidance in the middle of a stack, where the hidden vectors of all views become one weighted sum.

Ho and Salimans 2022 for the sum; after a block and not at the output as Han et al. 2024 (Infinity) have it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Axes: s steps, v views, b pictures, r = v b rows of the batch, t places in a row, q places of the picture, w width.


@dataclass(frozen=True)
class HiddenGuidance:
    """After `block`, counted from 0, or from -1 backwards, the last q places of a row are blended with those of the
    same picture in other views. Where the first view weighs 1 guidance is off, and each view keeps its own."""

    block: int
    weights: Float[Tensor, "v b q"]

    def place(self, depth: int) -> int:
        """Which of so many blocks it is. Raises ValueError if there is none."""
        if not -depth <= self.block < depth:
            raise ValueError(f"guidance after block {self.block}: this transformer has {depth}, 0 to {depth - 1}")
        return self.block % depth

    def of(self, x: Float[Tensor, "r t w"]) -> Float[Tensor, "r t w"]:
        """The rows, those of the picture blended."""
        v, _, q = self.weights.shape
        before, rows = x[:, : x.shape[1] - q], x[:, x.shape[1] - q :].unflatten(0, (v, -1))
        weights = self.weights.to(x)[..., None]
        blended = torch.where(weights[0] == 1, rows, (rows * weights).sum(0))
        return torch.cat([before, blended.flatten(0, 1)], dim=1)


def hidden_guidance_at(
    block: int | None, weights: Float[Tensor, "v b"] | Float[Tensor, "s v b"], steps: Int[Tensor, "b q"]
) -> HiddenGuidance | None:
    """With the weights of the step at which each place is asked for; none where guidance waits for the output."""
    if block is None or weights.shape[-2] == 1:
        return None
    weights = weights.to(steps.device)
    weights = weights.expand(int(steps.max()) + 1, -1, -1) if weights.ndim == 2 else weights
    b = torch.arange(len(steps), device=steps.device)[:, None]
    return HiddenGuidance(block, weights[steps, :, b].movedim(-1, 0))
