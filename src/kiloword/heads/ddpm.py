"""DDPM: diffusion over a thousand timesteps, sampled in fewer, with a learned variance.

Ho et al. 2020; cosine schedule, learned range of variances, variational bound and respacing of Nichol and Dhariwal
2021 (improved DDPM).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# Axes: c numbers of a token (2*c: its predicted noise and where in the range its variance lies), * any axes before it
# or none. An index counts the kept timesteps from 0, the cleanest; a timestep counts all of them.

Predict = Callable[[Tensor, Tensor], Tensor]  # (noised tokens, their timesteps) -> the network's outputs


@dataclass(frozen=True)
class DDPMConfig:
    """`steps` timesteps in training; `respacing` says which of them are kept for sampling.

    "100" keeps 100 timesteps evenly, "10,20" so many of each of two halves, "ddim50" every 20th of 1000; a tuple names
    them.
    """

    steps: int = 1000
    respacing: str | tuple[int, ...] = "100"

    def __post_init__(self):
        if self.steps < 2:
            raise ValueError(f"a diffusion needs at least 2 steps, got {self.steps}")
        if not isinstance(self.respacing, str):
            object.__setattr__(self, "respacing", tuple(self.respacing))
        kept = self.kept
        if len(kept) < 2 or list(kept) != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= self.steps:
            raise ValueError(
                f"at least 2 different timesteps from 0 to {self.steps - 1} are kept, in rising order; "
                f"respacing {self.respacing!r} keeps {len(kept)}"
            )

    @property
    def kept(self) -> tuple[int, ...]:
        """The kept timesteps, from the cleanest on."""
        return spaced(self.steps, self.respacing) if isinstance(self.respacing, str) else self.respacing

    def build(self) -> "DDPM":
        return DDPM(self)


def spaced(steps: int, respacing: str) -> tuple[int, ...]:
    """The timesteps that `respacing` keeps of `steps`. Raises ValueError for a respacing that they do not allow."""
    stride, counts = respacing.startswith("ddim"), respacing.removeprefix("ddim").split(",")
    if not all(count.isdecimal() for count in counts) or (stride and len(counts) > 1):
        raise ValueError(f"respacing is a number, numbers with commas between them or ddim and a number: {respacing!r}")
    if stride:
        for every in range(1, steps):
            if len(range(0, steps, every)) == int(counts[0]):
                return tuple(range(0, steps, every))
        raise ValueError(f"no whole stride keeps {counts[0]} of {steps} timesteps")
    kept, first = [], 0
    for part, count in enumerate(map(int, counts)):
        size = steps // len(counts) + (part < steps % len(counts))
        if not 0 < count <= size:
            raise ValueError(f"{count} of {size} timesteps cannot be kept")
        stride, place = (size - 1) / (count - 1) if count > 1 else 1, 0.0
        for _ in range(count):  # added up, not multiplied: halves are rounded as published
            kept.append(first + round(place))
            place += stride
        first += size
    return tuple(kept)


def cosine(steps: int, offset: float = 0.008, limit: float = 0.999) -> np.ndarray:
    """The betas of the cosine schedule: alpha-bar falls like a squared cosine (Nichol and Dhariwal 2021, eq. 17)."""

    def share(time: float) -> float:
        return math.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2

    return np.array([min(1 - share((t + 1) / steps) / share(t / steps), limit) for t in range(steps)])


class Chain:
    """The noise schedule seen at its kept timesteps: float64 tables, copied to a device on first use there."""

    def __init__(self, steps: int, kept: tuple[int, ...]):
        share = np.cumprod(1 - cosine(steps))[list(kept)]
        before = np.append(1.0, share[:-1])
        betas = 1 - share / before
        variance = betas * (1 - before) / (1 - share)
        self.tables = {
            "timestep": np.array(kept),
            "beta": betas,
            "share": share,
            "clean": np.sqrt(share),
            "noise": np.sqrt(1 - share),
            "inverse": np.sqrt(1 / share),
            "excess": np.sqrt(1 / share - 1),
            "mean from clean": betas * np.sqrt(before) / (1 - share),
            "mean from noised": (1 - before) * np.sqrt(1 - betas) / (1 - share),
            "least log variance": np.log(np.append(variance[1], variance[1:])),
            "most log variance": np.log(betas),
        }
        self.copies: dict[Any, Tensor] = {}

    def __len__(self) -> int:
        return len(self.tables["timestep"])

    def _at(self, name: str, index: Tensor) -> Tensor:
        key = name, index.device
        if key not in self.copies:
            with torch.inference_mode(False):
                self.copies[key] = torch.from_numpy(self.tables[name]).float().to(index.device)
        return self.copies[key][index]

    def timestep(self, index: Int[Tensor, "*i"]) -> Float[Tensor, "*i"]:
        """The original number of a kept timestep, which conditions the network."""
        return self._at("timestep", index)

    def noised(
        self, clean: Float[Tensor, "*t c"], noise: Float[Tensor, "*t c"], index: Int[Tensor, "*t"]
    ) -> Float[Tensor, "*t c"]:
        i = index[..., None]
        return self._at("clean", i) * clean + self._at("noise", i) * noise

    def clean(
        self, noised: Float[Tensor, "*t c"], noise: Float[Tensor, "*t c"], index: Int[Tensor, "*i"]
    ) -> Float[Tensor, "*t c"]:
        """The clean token that the predicted noise points to."""
        i = index[..., None]
        return self._at("inverse", i) * noised - self._at("excess", i) * noise

    def posterior_mean(
        self, clean: Float[Tensor, "*t c"], noised: Float[Tensor, "*t c"], index: Int[Tensor, "*i"]
    ) -> Float[Tensor, "*t c"]:
        """The mean of q(x[t-1] | x[t], clean), one kept timestep before (Ho et al. 2020, eq. 7)."""
        i = index[..., None]
        return self._at("mean from clean", i) * clean + self._at("mean from noised", i) * noised

    def least_log_variance(self, index: Int[Tensor, "*i"]) -> Float[Tensor, "*i 1"]:
        """The log variance of q(x[t-1] | x[t], clean); at index 0, where it is 0, that of index 1."""
        return self._at("least log variance", index[..., None])

    def log_variance(self, within: Float[Tensor, "*t c"], index: Int[Tensor, "*i"]) -> Float[Tensor, "*t c"]:
        """Interpolated between the lower bound (-1) and the upper (1) (Nichol and Dhariwal 2021, eq. 15)."""
        share = (within + 1) / 2
        return share * self._at("most log variance", index[..., None]) + (1 - share) * self.least_log_variance(index)

    def step(
        self, noised: Float[Tensor, "*t c"], outputs: Float[Tensor, "*t 2*c"], index: Int[Tensor, ""],
        noise: Float[Tensor, "*t c"],
    ) -> tuple[Float[Tensor, "*t c"], Float[Tensor, "*t c"]]:  # fmt: skip
        """One sampling step: the token one kept timestep before, and the predicted clean token; index 0 adds no
        noise."""
        predicted, within = outputs.chunk(2, dim=-1)
        clean = self.clean(noised, predicted, index)
        deviation = torch.exp(self.log_variance(within, index) / 2) * (index > 0)
        return self.posterior_mean(clean, noised, index) + deviation * noise, clean


class DDPM:
    """All timesteps in training and the kept ones in sampling; the network predicts noise and variance."""

    outputs = 2

    def __init__(self, config: DDPMConfig):
        self.learned = Chain(config.steps, tuple(range(config.steps)))
        self.drawn = Chain(config.steps, config.kept)

    def terms(
        self, predict: Predict, clean: Float[Tensor, "*t c"], index: Int[Tensor, "*t"], noise: Float[Tensor, "*t c"]
    ) -> tuple[Float[Tensor, "*t"], Float[Tensor, "*t"]]:
        """The squared error of the noise and the variational bound in bits, each a mean over a token's numbers.

        The bound trains the variance only: the mean in it has no gradient.
        """
        chain = self.learned
        noised = chain.noised(clean, noise, index)
        predicted, within = predict(noised, chain.timestep(index)).chunk(2, dim=-1)
        mean = chain.posterior_mean(chain.clean(noised, predicted.detach(), index), noised, index)
        log_variance = chain.log_variance(within, index)
        wanted = chain.posterior_mean(clean, noised, index)
        nats = divergence(wanted, chain.least_log_variance(index), mean, log_variance)
        nats = torch.where(index[..., None] == 0, -log_likelihood(clean, mean, log_variance), nats)
        return (noise - predicted).square().mean(-1), nats.mean(-1) / math.log(2)

    def loss(
        self, predict: Predict, clean: Float[Tensor, "*t c"], uniform: Float[Tensor, "*t"], noise: Float[Tensor, "*t c"]
    ) -> Float[Tensor, "*t"]:
        """The hybrid loss (error + bound) at the timesteps that `uniform` in [0, 1) selects."""
        index = (uniform * len(self.learned)).long().clamp(max=len(self.learned) - 1)
        error, bound = self.terms(predict, clean, index, noise)
        return error + bound

    def sample(
        self, predict: Predict, draw: Callable[[], Float[Tensor, "*t c"]], temperature: float
    ) -> Float[Tensor, "*t c"]:
        """A sample by ancestral sampling: one normal `draw` to begin with and one each step, scaled by `temperature`
        (the last is unused)."""
        x = draw()
        for i in reversed(range(len(self.drawn))):
            index = torch.tensor(i, device=x.device)
            outputs = predict(x, self.drawn.timestep(index))
            x, _ = self.drawn.step(x, outputs, index, draw() * temperature)
        return x


def divergence(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """The KL divergence of two normal distributions, in nats (Kullback and Leibler 1951)."""
    spread = torch.exp(log_variance - other_log_variance)
    distance = (mean - other_mean).square() * torch.exp(-other_log_variance)
    return (other_log_variance - log_variance - 1 + spread + distance) / 2


def log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """In nats, of numbers in [-1, 1] in 255 bins (Ho et al. 2020, eq. 13), with an approximate normal integral."""

    def integral(z: Tensor) -> Tensor:
        return (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))) / 2

    precision = torch.exp(-log_variance / 2)
    above, below = (integral(precision * (x - mean + half)) for half in (1 / 255, -1 / 255))
    share = torch.where(x < -0.999, above, torch.where(x > 0.999, 1 - below, above - below))
    return share.clamp(min=1e-12).log()
