"""Noise: randomness as a value that is passed in, one stream of random numbers for each picture.

Inverse transform sampling (Devroye 1986, chapter 2) makes a picture a function of its uniform numbers, whatever else is
in the batch.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Axes: b pictures, k values of a categorical distribution.

LEAST = 1e-9  # the smallest level that is divided by


@runtime_checkable
class Noise(Protocol):
    """A source of random numbers for a batch of pictures; `pictures` are the indices of the b that draw.

    `uniform` gives float64 numbers in [0, 1), `normal` standard normal ones, both [b, *shape].
    """

    def uniform(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor: ...

    def normal(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor: ...


def seed_for(seed: int, use: str | int) -> int:
    """A seed derived from another one, for another use of randomness in the same picture."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{use}".encode()).digest()[:4], "big") >> 1


class Seeded:
    """A generator for each picture, seeded with `seeds[i]` in [0, 2^63)."""

    def __init__(self, seeds: Sequence[int]):
        for seed in seeds:
            if not 0 <= seed < 2**63:
                raise ValueError(f"a seed is a whole number from 0 to 2^63 - 1, got {seed}")
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def uniform(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        """Float64 numbers in [0, 1), [b, *shape]."""
        drawn = [torch.rand(shape, generator=self.generators[i], dtype=torch.float64) for i in pictures.tolist()]
        return torch.stack(drawn)

    def normal(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        """Standard normal float32 numbers, [b, *shape]."""
        return torch.stack([torch.randn(shape, generator=self.generators[i]) for i in pictures.tolist()])


class Selected:
    """The noise of some of the pictures of another source, `index`, renumbered from 0."""

    def __init__(self, noise: Noise, index: Int[Tensor, "b"]):
        self.noise, self.index = noise, index

    def uniform(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        return self.noise.uniform(shape, self.index[pictures])

    def normal(self, shape: tuple[int, ...], pictures: Int[Tensor, "b"]) -> Tensor:
        return self.noise.normal(shape, self.index[pictures])


class Recorded:
    """Recorded random numbers [b, draws, ...], handed out in their order, for comparison with other implementations."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        self.drawn = 0

    def _next(self, shape: tuple[int, ...], pictures: Tensor) -> Tensor:
        if self.drawn >= self.tensor.shape[1]:
            raise ValueError(f"the recording holds {self.tensor.shape[1]} draws, and one more is needed")
        taken = self.tensor[pictures, self.drawn]
        self.drawn += 1
        return taken.reshape(len(pictures), *shape)

    uniform = _next
    normal = _next


def sample_categorical(logits: Float[Tensor, "*b k"], uniform: Tensor) -> Int[Tensor, "*b"]:
    """Sample from softmax(logits) by inverse transform: the number of cumulative probabilities, in float64, not above
    the uniform number [*b] in [0, 1)."""
    cumulative = torch.softmax(logits, dim=-1).cumsum(-1, dtype=torch.float64)
    least = uniform.to(cumulative).unsqueeze(-1) * cumulative[..., -1:]  # below the last one, as uniform is below 1
    return torch.searchsorted(cumulative, least, right=True).squeeze(-1)


def mix(clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """The part-noised latent (1 - level) clean + level noise (rectified flow, Liu et al. 2022, eq. 1)."""
    return (1 - level) * clean + level * noise


def velocity(clean: Tensor, noise: Tensor) -> Tensor:
    """d mix / d level = noise - clean: what a flow network predicts (Lipman et al. 2022)."""
    return noise - clean


def clean_from_velocity(noised: Tensor, velocity: Tensor, level: Tensor) -> Tensor:
    """The clean latent that a velocity at `level` points to."""
    return noised - level * velocity


def noise_from_velocity(noised: Tensor, velocity: Tensor, level: Tensor) -> Tensor:
    """The noise that a velocity at `level` comes from."""
    return noised + (1 - level) * velocity


def velocity_from_clean(noised: Tensor, clean: Tensor, level: Tensor) -> Tensor:
    """The velocity at `level` that comes from a clean latent; 0 at level 0 if there is no noise left."""
    return (noised - clean) / level.clamp(min=LEAST)


def euler(noised: Tensor, velocity: Tensor, level: Tensor, to: Tensor) -> Tensor:
    """One Euler step of the flow from `level` to the lower level `to`."""
    return noised + (to - level) * velocity


def heun(noised: Tensor, first: Tensor, second: Tensor, level: Tensor, to: Tensor) -> Tensor:
    """Heun's step: the mean of the velocities here and at the end of the Euler step (Karras et al. 2022, alg. 1)."""
    return noised + (to - level) * (first + second) / 2


def ddim(clean: Tensor, noise: Tensor, to: Tensor) -> Tensor:
    """The deterministic DDIM step: mix the predicted clean latent and noise anew at `to` (Song et al. 2020, eq. 12)."""
    return mix(clean, noise, to)


def straight(noised: Tensor, clean: Tensor, level: Tensor, to: Tensor) -> Tensor:
    """The step of `euler` and `ddim` given the predicted clean latent: to / level of the distance to it remains."""
    return torch.lerp(clean, noised, to / level.clamp(min=LEAST))
