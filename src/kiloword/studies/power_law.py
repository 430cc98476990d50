"""Power laws of loss: a floor, and above it a power of the parameters or of the compute, with 95% intervals.

Kaplan et al. 2020 (Scaling Laws for Neural Language Models); Henighan et al. 2020 for pictures and for the floor, which
is what no size could learn. Intervals are those of least squares, linear around the fit (Student 1908).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

STARTS = (0.0, 0.5, 0.9)  # floors to begin with, shares of the lowest loss
NEEDED = 4  # points: one more than the law has numbers


@dataclass(frozen=True)
class Interval:
    """A value, and what holds it with a probability of 95%; None where the points cannot tell."""

    value: float
    low: float | None
    high: float | None

    def holds(self, value: float) -> bool | None:
        """Whether a value lies within; None without bounds."""
        return None if self.low is None or self.high is None else self.low <= value <= self.high


@dataclass(frozen=True)
class Law:
    """loss(x) = floor + excess (x / middle)^-exponent; `excess` is what `middle`, a middling x, has above the floor.

    `covariance` is that of the three; `spread` is the deviation of losses from the law, `free` their number less three.
    """

    floor: float
    excess: float
    exponent: float
    middle: float
    covariance: tuple[tuple[float, ...], ...]
    spread: float
    free: int

    def at(self, x: float) -> float:
        return self.floor + self.excess * (x / self.middle) ** -self.exponent

    def predicted(self, x: float) -> Interval:
        """The loss of a training at x that is yet to be made: unsure of the law, and of what a training adds."""
        away = (x / self.middle) ** -self.exponent
        slope = np.array([1.0, away, -self.excess * away * math.log(x / self.middle)])
        variance = float(slope @ np.array(self.covariance) @ slope) + self.spread**2
        return self._around(self.at(x), variance)

    @property
    def numbers(self) -> dict[str, Interval]:
        """The floor and the exponent."""
        floor, _, exponent = (self.covariance[i][i] for i in range(3))
        return {"floor": self._around(self.floor, floor), "exponent": self._around(self.exponent, exponent)}

    def _around(self, value: float, variance: float) -> Interval:
        from scipy.stats import t

        if self.free < 1 or not math.isfinite(variance):
            return Interval(value, None, None)
        half = float(t.ppf(0.975, self.free)) * math.sqrt(variance)
        return Interval(value, value - half, value + half)


def fitted(x: Sequence[float], loss: Sequence[float]) -> Law:
    """The law of least squares. Raises ValueError for fewer points than it takes, and where none can be found."""
    from scipy.optimize import curve_fit

    if len(x) < NEEDED or len(set(x)) < NEEDED:
        raise ValueError(f"a law of three numbers takes {NEEDED} different points or more, got {len(set(x))}")
    points, losses = np.array(x, dtype=float), np.array(loss, dtype=float)
    middle = float(np.exp(np.log(points).mean()))
    found = []
    for share in STARTS:
        floor = share * losses.min()
        with np.errstate(all="ignore"):
            try:
                numbers, covariance = curve_fit(
                    lambda at, floor, excess, exponent: floor + excess * (at / middle) ** -exponent, points, losses,
                    p0=(floor, losses.mean() - floor, 0.1), bounds=((0, 0, 0), (losses.min(), np.inf, 5)),
                    maxfev=20_000,
                )  # fmt: skip
            except RuntimeError:
                continue
        floor, excess, exponent = map(float, numbers)
        law = Law(floor, excess, exponent, middle, tuple(map(tuple, covariance.tolist())), 0.0, len(x) - 3)
        error = float(sum((law.at(at) - true) ** 2 for at, true in zip(x, loss, strict=True)))
        found.append((error, law))
    if not found:
        raise ValueError(f"no law can be found for the losses {', '.join(f'{value:g}' for value in loss)}")
    error, law = min(found, key=lambda one: one[0])
    spread = math.sqrt(error / law.free) if law.free else 0.0
    return replace(law, spread=spread)


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (compute, loss) those that nothing at less compute, or at as much, is better than, least compute first."""
    found: list[tuple[float, float]] = []
    for compute, loss in sorted(points):
        if not found or loss < found[-1][1]:
            found.append((compute, loss))
    return found
