"""Perceptual error: the distance of two pictures in the features of a trained network.

Johnson et al. 2016; features of length 1 at every position as in Zhang et al. 2018 (LPIPS), all weighed alike. The
network is given by the user: none is shipped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from kiloword.pixels import composite
from kiloword.tokenizers.network import Decoder
from kiloword.tokens import Layout
from kiloword.training.losses.error import Error, Judged

# Axes: b pictures, c channels, H W pixels, k latent channels, h w grid, t positions, d features.

Features = Callable[[Float[Tensor, "b 3 H W"]], Sequence[Tensor]]  # [b, d, h, w] or [b, t, d], fine to coarse
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, where a network says no others


@dataclass(frozen=True)
class PerceptualConfig:
    """`model`: a folder, or owner/name on the hub, that `transformers` can open; none by default."""

    model: str = ""
    weight: float = 1.0

    def build(self, error: Error) -> Error:
        """The error with the distance in the model's features added to it."""
        return Perceptual(error, load_network(self.model), self.weight) if self.model else error


@dataclass(frozen=True)
class Perceptual:
    """Another error, and `weight` times the distance of the features over black and over white."""

    error: Error
    features: Features
    weight: float = 1.0

    def __call__(
        self, decoder: Decoder, latent: Float[Tensor, "b k h w"], layout: Layout, true: Float[Tensor, "b c H W"]
    ) -> Judged:
        drawn, errors = self.error(decoder, latent, layout, true)
        for background in (-1.0, 1.0):
            first, second = composite(drawn, background), composite(true, background)
            errors = errors + self.weight / 2 * feature_distance(self.features, first, second)
        return drawn, errors


def feature_distance(
    features: Features, first: Float[Tensor, "b 3 H W"], second: Float[Tensor, "b 3 H W"]
) -> Float[Tensor, "b"]:
    """Squared distance of the features at each position, the mean over positions and layers; 0 for equal pictures."""
    with torch.no_grad():
        reference = features(second)
    distances = []
    for a, b in zip(features(first), reference, strict=True):
        axis = 1 if a.ndim == 4 else 2
        distances.append((normalize(a, dim=axis) - normalize(b, dim=axis)).square().sum(axis).flatten(1).mean(1))
    return torch.stack(distances).mean(0)


class Frozen(nn.Module):
    """A network of `transformers`: its hidden states for pixels in [-1, 1], scaled as it wants them."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], deviation: Sequence[float]):
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1))

    def forward(self, pixels: Float[Tensor, "b 3 H W"]) -> Sequence[Tensor]:
        self.to(pixels.device)  # it is not trained, so Fabric does not move it
        values = ((pixels + 1) / 2 - self.mean) / self.deviation
        return self.network(values, output_hidden_states=True).hidden_states


def load_network(model: str) -> Frozen:
    """The network of that name, from safetensors only. Raises ValueError if there is none."""
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise ValueError("a perceptual error takes the transformers library: pip install transformers") from error
    try:
        network = AutoModel.from_pretrained(model, use_safetensors=True)
    except (OSError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise ValueError(f"{model!r} is no picture network that transformers can open: {line}") from error
    wanted = _preprocessing(model)
    return Frozen(network, wanted.get("image_mean", MEAN), wanted.get("image_std", DEVIATION))


def _preprocessing(model: str) -> dict[str, Any]:
    """How the network wants its pixels, where it says so."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        return ImageProcessingMixin.get_image_processor_dict(model)[0]
    except OSError:
        return {}
