"""Hidden guidance: classifier-free guidance on hidden vectors inside the stack, a weighted sum over the views.

Ho and Salimans 2022 for the sum; after a block and not at the output as Han et al. 2024 (Infinity) have it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Axes: s steps, v views, b pictures, r = v b sequences of the batch, t positions of one, q positions of the picture,
# w width.


@dataclass(frozen=True)
class HiddenGuidance:
    """After `block`, counted from 0 (or from -1 backwards), the hidden vectors of the last q positions become the
    weighted sum over the views of their picture. Where the first view's weight is 1, guidance is off and each view
    is unchanged."""

    block: int
    weights: Float[Tensor, "v b q"]

    def block_of(self, depth: int) -> int:
        """The index of the block in a stack of `depth` blocks. Raises ValueError if there is none."""
        if not -depth <= self.block < depth:
            raise ValueError(f"guidance after block {self.block}: this transformer has {depth}, 0 to {depth - 1}")
        return self.block % depth

    def combined(self, x: Float[Tensor, "r t w"]) -> Float[Tensor, "r t w"]:
        """The hidden vectors with those of the picture combined over the views."""
        v, _, q = self.weights.shape
        before, views = x[:, : x.shape[1] - q], x[:, x.shape[1] - q :].unflatten(0, (v, -1))
        weights = self.weights.to(x)[..., None]
        combined = torch.where(weights[0] == 1, views, (views * weights).sum(0))
        return torch.cat([before, combined.flatten(0, 1)], dim=1)


def hidden_guidance_at(
    block: int | None, weights: Float[Tensor, "v b"] | Float[Tensor, "s v b"], steps: Int[Tensor, "b q"]
) -> HiddenGuidance | None:
    """Hidden guidance with the weights of the step at which each position is predicted; None for guidance at the output
    (`block` None), or with a single view."""
    if block is None or weights.shape[-2] == 1:
        return None
    weights = weights.to(steps.device)
    weights = weights.expand(int(steps.max()) + 1, -1, -1) if weights.ndim == 2 else weights
    b = torch.arange(len(steps), device=steps.device)[:, None]
    return HiddenGuidance(block, weights[steps, :, b].movedim(-1, 0))
