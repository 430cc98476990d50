"""A canvas that is kept from step to step: each grid is painted once, over those before it (Tian et al. 2024, VAR).

The slow way, `ImageModel.canvas`, paints all earlier grids anew each time it is asked.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from kiloword.model import ImageModel
from kiloword.tokens import Layout

# Axes: b pictures, n tokens of all grids, c latent channels, s t the grid that is asked for.


class RunningCanvas:
    """What the tokens of the grids before a scale have painted; begun anew when one of those is another than it was."""

    def __init__(self, model: ImageModel, layout: Layout):
        self.model, self.layout = model, layout
        self.begin()

    def begin(self) -> None:
        """An empty canvas."""
        self.scales, self.tokens, self.painted = 0, None, None

    def __call__(self, shown: Tensor, scale: int) -> Float[Tensor, "b c s t"]:
        """The same as `ImageModel.canvas` gives for the tokens `shown` [b, n, ...], number for number."""
        quantizer = self.model.picture.multiscale()
        if scale < self.scales or (self.tokens is not None and not self._holds(shown)):
            self.begin()
        for new in range(self.scales, scale):
            stroke = quantizer.stroke(shown[:, self.layout.part(new)], self.layout, new)
            self.painted = stroke if self.painted is None else self.painted + stroke
        if self.painted is None:
            return quantizer.canvas(shown, self.layout, scale)
        self.scales, self.tokens = scale, shown[:, : self.layout.part(scale).start].clone()
        return quantizer.shrink(self.painted, self.layout, scale)

    def _holds(self, shown: Tensor) -> bool:
        """Whether what is on the canvas was painted by these tokens."""
        return self.tokens is not None and torch.equal(self.tokens, shown[:, : self.tokens.shape[1]])
