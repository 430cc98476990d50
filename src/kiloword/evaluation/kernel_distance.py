"""Kernel distance: do reconstructions, all together, look like pictures of the same kind as the originals?

Binkowski et al. 2018 (Demystifying MMD GANs) for the polynomial kernel; Gretton et al. 2012, equation 4, for the
estimator, which has no bias at any number of pictures; Arcones and Gine 1992 for resampling it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Axes: n m pictures, d features.


@dataclass(frozen=True)
class KernelDistance:
    """The squared maximum mean discrepancy, and the interval that holds it with a probability of about 95%.

    No bias means that it may fall below 0 where two sets can't be told pairwise.
    """

    value: float
    low: float
    high: float


def kernel_distance(
    first: Float[Tensor, "n d"], second: Float[Tensor, "n d"], resamples: int = 1000, seed: int = 0
) -> KernelDistance:
    """The distance of pictures from their originals, given the features of each, whose spread should be about 1.

    A resample draws pairs with replacement; two copies of one pair are never compared, which would add a bias.
    """
    if len(first) < 2:
        raise ValueError(f"a kernel distance compares two pictures or more, got {len(first)}")
    first, second = first.double(), second.double()
    pairwise = kernel(first, first) + kernel(second, second) - kernel(first, second) - kernel(second, first)
    pairwise.fill_diagonal_(0)
    n = len(first)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(n, (resamples, n), generator=generator)
    counts = torch.zeros(resamples, n, dtype=pairwise.dtype).scatter_add_(1, drawn, torch.ones_like(drawn).to(pairwise))
    pairs = counts.sum(1).square() - counts.square().sum(1)
    values = (((counts @ pairwise) * counts).sum(1) / pairs)[pairs > 0]  # of one picture only, there are no pairs
    low, high = torch.quantile(values, torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return KernelDistance(float(pairwise.sum() / (n * (n - 1))), low, high)


def kernel(first: Float[Tensor, "n d"], second: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """(x y / d + 1)^3, which sees means, variances and skewness."""
    return (first @ second.T / first.shape[1] + 1) ** 3


def scaled(
    features: Float[Tensor, "n d"], like: Float[Tensor, "m d"], least: float = 0.0
) -> Float[Tensor, "n d"]:  # fmt: skip
    """Features in units of the standard deviation of other pictures' ones, from their mean.

    Of others: to scale by the very pictures that are compared would add a bias. A deviation below the share `least` of
    their mean counts as that: where others hardly differ, a little change must not outweigh all else.
    """
    like = like.double()
    spread = like.std(0)
    return (features.double() - like.mean(0)) / spread.clamp(min=max(1e-6, least * float(spread.mean())))
