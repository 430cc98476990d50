"""Memorisation: how near each drawn picture comes to the training pictures.

Nearest training neighbours as in Carlini et al. 2023 (Extracting Training Data from Diffusion Models); the yardstick is
the tokenizer's own error, below which no drawing can tell two pictures apart.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kiloword.evaluation.drawing import Session
from kiloword.evaluation.features import distances, features
from kiloword.evaluation.subject import Gallery
from kiloword.pixels import from_bytes, psnr

# Axes: p pictures judged, H W pixels.

_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


class TrainingSet:
    """The training pictures of a gallery, of all styles and skin tones, to be searched by 16x16 pixels."""

    def __init__(self, gallery: Gallery):
        self.gallery = gallery
        self.rows = gallery.image_set.where(split="train")
        self.features = gallery.features["pixels"][self.rows]

    def nearest(self, pictures: UInt8[Tensor, "p 4 H W"]) -> tuple[list[int], Float[Tensor, "p"]]:
        """The training picture nearest to each, and its distance: root mean square, 0 equal, 1 black and white."""
        mine = features("pixels", pictures)
        apart = distances(mine, self.features) / mine.shape[1] ** 0.5
        least = apart.min(dim=1)
        return [self.rows[place] for place in least.indices.tolist()], least.values.float()


def memorisation(
    session: Session, training: TrainingSet, asked: Sequence[int], drawn: UInt8[Tensor, "p 4 H W"]
) -> dict[str, Any]:
    """Distance and PSNR of drawn pictures to their nearest training picture, and how many are as good as copies."""
    if not asked:
        return {"n": 0}
    pixels, rows = training.gallery.image_set.pixels, training.gallery.image_set.rows
    nearest, apart = training.nearest(drawn)
    rebuilt = session.rebuilt(pixels[nearest])
    closeness = _psnr(drawn, pixels[nearest])
    limit = _psnr(rebuilt, pixels[nearest])
    near = features("pixels", pixels[nearest])
    own_error = (features("pixels", rebuilt) - near).square().mean(1).sqrt()
    _, true_apart = training.nearest(pixels[list(asked)])
    pairs = [(rows[index], rows[found]) for index, found in zip(asked, nearest, strict=True)]
    same = torch.tensor([index == found for index, found in zip(asked, nearest, strict=True)])
    subject = torch.tensor([one["base"] == two["base"] for one, two in pairs])
    return {
        "distance": quantiles(apart),
        "psnr": quantiles(closeness),
        "closer_than_reconstruction": _share(apart <= own_error),
        "psnr_above_reconstruction": _share(closeness >= limit),
        "nearest": {
            "asked_picture": _share(same),
            "asked_subject_otherwise": _share(subject & ~same),
            "another_subject": _share(~subject),
        },
        "true_picture_distance": quantiles(true_apart),
        "n": len(asked),
    }


def quantiles(values: Float[Tensor, "p"]) -> dict[str, float]:
    """The 5th, 25th, 50th, 75th and 95th percentile."""
    found = values.float().quantile(torch.tensor(_SHARES))
    return {f"p{round(100 * share):02d}": float(value) for share, value in zip(_SHARES, found, strict=True)}


def _share(which: Tensor) -> float:
    return float(which.double().mean())


def _psnr(ours: Tensor, theirs: Tensor) -> Float[Tensor, "p"]:
    pairs = zip(ours.split(64), theirs.split(64), strict=True)
    return torch.cat([psnr(from_bytes(one), from_bytes(two)) for one, two in pairs])
