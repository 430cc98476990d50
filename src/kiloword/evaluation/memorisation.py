"""Memorisation: how near each drawn picture comes to the training pictures.

Nearest training neighbours as in Carlini et al. 2023 (Extracting Training Data from Diffusion Models); the yardstick is
the tokenizer's own error, below which no drawing can tell two pictures apart.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kiloword.evaluation.feature_spaces import distances, features
from kiloword.evaluation.session import Session
from kiloword.evaluation.subject import Gallery
from kiloword.pixels import from_bytes, psnr

# Axes: p pictures judged, H W pixels.

_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


class TrainingSet:
    """The training pictures of a gallery, of all styles and skin tones, to be searched by 16x16 pixels."""

    def __init__(self, gallery: Gallery):
        self.gallery = gallery
        self.indices = gallery.image_set.matching(split="train")
        self.features = gallery.features["pixels"][self.indices]

    def nearest(self, pictures: UInt8[Tensor, "p 4 H W"]) -> tuple[list[int], Float[Tensor, "p"]]:
        """Index of the training picture nearest to each, and its distance: root mean square, 1 from black to white."""
        drawn = features("pixels", pictures)
        apart = distances(drawn, self.features) / drawn.shape[1] ** 0.5
        nearest = apart.min(dim=1)
        return [self.indices[i] for i in nearest.indices.tolist()], nearest.values.float()


def memorisation(
    session: Session, training: TrainingSet, indices: Sequence[int], drawn: UInt8[Tensor, "p 4 H W"]
) -> dict[str, Any]:
    """Distance and PSNR of drawn pictures to their nearest training picture, and the share that are as good as copies.

    `indices` are those of the true pictures.
    """
    if not indices:
        return {"n": 0}
    pixels, metadata = training.gallery.image_set.pixels, training.gallery.image_set.metadata
    nearest, apart = training.nearest(drawn)
    rebuilt = session.rebuilt(pixels[nearest])
    closeness = _psnr(drawn, pixels[nearest])
    limit = _psnr(rebuilt, pixels[nearest])
    near = features("pixels", pixels[nearest])
    error = (features("pixels", rebuilt) - near).square().mean(1).sqrt()
    _, true_apart = training.nearest(pixels[list(indices)])
    pairs = [(metadata[index], metadata[found]) for index, found in zip(indices, nearest, strict=True)]
    same = torch.tensor([index == found for index, found in zip(indices, nearest, strict=True)])
    subject = torch.tensor([true["base"] == found["base"] for true, found in pairs])
    return {
        "distance": quantiles(apart),
        "psnr": quantiles(closeness),
        "closer_than_reconstruction": _share(apart <= error),
        "psnr_above_reconstruction": _share(closeness >= limit),
        "nearest": {
            "asked_picture": _share(same),
            "asked_subject_otherwise": _share(subject & ~same),
            "another_subject": _share(~subject),
        },
        "true_picture_distance": quantiles(true_apart),
        "n": len(indices),
    }


def quantiles(values: Float[Tensor, "p"]) -> dict[str, float]:
    """The 5th, 25th, 50th, 75th and 95th percentile."""
    found = values.float().quantile(torch.tensor(_SHARES))
    return {f"p{round(100 * share):02d}": float(value) for share, value in zip(_SHARES, found, strict=True)}


def _share(which: Tensor) -> float:
    return float(which.double().mean())


def _psnr(first: Tensor, second: Tensor) -> Float[Tensor, "p"]:
    pairs = zip(first.split(64), second.split(64), strict=True)
    return torch.cat([psnr(from_bytes(a), from_bytes(b)) for a, b in pairs])
