"""A critic (discriminator) of drawn and true pictures, patch by patch, and the losses of both sides.

Isola et al. 2017 (pix2pix) for patches; Lim and Ye 2017 for the hinge; Esser et al. 2021 (VQGAN), equation 7, for the
weight that balances the critic's gradient with that of the error.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import relu

# Axes: b pictures, c channels, H W pixels, s t patches.

LARGEST = 1e4  # of adaptive weights


@dataclass(frozen=True)
class AdversarialConfig:
    """`weight` 0 is no critic at all; it is trained after the share `start` of the training, once
    pictures are worth judging."""

    weight: float = 0.0
    start: float = 0.0
    width: int = 64
    layers: int = 3

    def __post_init__(self):
        if self.weight < 0 or min(self.width, self.layers) < 1:
            raise ValueError(f"the weight of a critic is at least 0, its width and layers at least 1: {self}")
        if not 0 <= self.start <= 1:
            raise ValueError(f"start is the share of the training before a critic joins, from 0 to 1, got {self.start}")

    def build(self, channels: int) -> "PatchCritic":
        return PatchCritic(self, channels)


class PatchCritic(nn.Module):
    """Strided convolutions; every value that comes out judges one patch: above 0 it is taken for true."""

    def __init__(self, config: AdversarialConfig, channels: int):
        super().__init__()
        widths = [channels, *(config.width * min(2**layer, 8) for layer in range(config.layers + 1))]
        blocks: list[nn.Module] = [nn.Conv2d(channels, widths[1], 4, 2, 1), nn.LeakyReLU(0.2)]
        for layer in range(1, config.layers + 1):
            before, after = widths[layer], widths[layer + 1]
            stride = 2 if layer < config.layers else 1
            blocks += [nn.Conv2d(before, after, 4, stride, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, pixels: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 1 s t"]:
        return self.layers(pixels)

    def still(self, pixels: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 1 s t"]:
        """The same values with the critic's weights detached: gradients reach the pixels only."""
        held = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return functional_call(self, held, pixels)


def hinge(true: Float[Tensor, "b 1 s t"], drawn: Float[Tensor, "b 1 s t"]) -> Float[Tensor, ""]:
    """The critic's loss: true patches should be above 1, drawn ones below -1."""
    return (relu(1 - true).mean() + relu(1 + drawn).mean()) / 2


def adaptive_weight(error: Float[Tensor, ""], unmasked: Float[Tensor, ""], last: Tensor) -> Float[Tensor, ""]:
    """The weight of `unmasked` that gives its gradient at the decoder's last weights the norm of that of `error`."""
    (by_error,), (by_critic,) = (torch.autograd.grad(loss, last, retain_graph=True) for loss in (error, unmasked))
    return (by_error.norm() / (by_critic.norm() + 1e-4)).clamp(max=LARGEST).detach()
