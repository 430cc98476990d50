"""Laws through points: numbers that are known are found, and intervals hold what they promise."""

import numpy as np
import pytest

from kiloword.studies.power_law import Interval, fitted, frontier

SIZES = [2e5, 4e5, 8e5, 1.6e6, 3e6]


def losses(floor: float, excess: float, exponent: float, at=SIZES) -> np.ndarray:
    return floor + excess * (np.array(at) / 1e6) ** -exponent


def test_a_law_without_noise_is_found_and_predicts():
    law = fitted(SIZES, losses(2.0, 1.5, 0.4).tolist())
    assert law.floor == pytest.approx(2.0, abs=1e-3) and law.exponent == pytest.approx(0.4, abs=1e-3)
    interval = law.predicted(1e8)
    assert interval.value == pytest.approx(float(losses(2.0, 1.5, 0.4, [1e8])[0]), abs=1e-3)
    assert interval.low is not None and interval.high is not None and interval.high - interval.low < 0.01
    assert law.numbers["exponent"].holds(0.4) or law.spread < 1e-6


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    generator, held, away = np.random.default_rng(0), [], []
    sizes, truth = list(np.geomspace(1e5, 1e7, 12)), float(losses(2.0, 1.5, 0.4, [2e7])[0])
    for _ in range(100):
        noisy_law = fitted(sizes, (losses(2.0, 1.5, 0.4, sizes) + 0.02 * generator.standard_normal(12)).tolist())
        held.append(noisy_law.predicted(2e7).holds(truth + 0.02 * generator.standard_normal()))
        away.append(noisy_law.predicted(2e7).holds(truth + 0.5))
    assert np.mean(held) > 0.85 and np.mean(away) < 0.15


def test_farther_away_is_less_sure():
    noisy = losses(2.0, 1.5, 0.4) + np.array([0.01, -0.02, 0.015, -0.01, 0.005])
    law = fitted(SIZES, noisy.tolist())
    widths = [interval.high - interval.low for interval in map(law.predicted, (1e6, 1e7, 1e9))]  # type: ignore[operator]
    assert widths[0] < widths[1] < widths[2]


def test_too_few_points_are_refused_and_an_unknown_interval_is_not():
    with pytest.raises(ValueError, match="takes 4 different points or more, got 3"):
        fitted(SIZES[:3], [3.0, 2.0, 1.0])
    with pytest.raises(ValueError, match="got 1"):
        fitted([1e6] * 5, [3.0, 2.0, 1.0, 1.0, 1.0])
    assert Interval(1.0, None, None).holds(1.0) is None
    assert Interval(1.0, 0.5, 2.0).holds(2.0) and not Interval(1.0, 0.5, 2.0).holds(2.1)


def test_the_frontier_keeps_what_nothing_cheaper_beats():
    points = [(1.0, 5.0), (2.0, 6.0), (3.0, 4.0), (3.0, 4.5), (4.0, 4.0), (9.0, 1.0)]
    assert frontier(points[::-1]) == [(1.0, 5.0), (3.0, 4.0), (9.0, 1.0)]
