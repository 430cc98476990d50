"""Kernel distance: no bias, an interval that holds it, 0 for equal pictures and more for worse ones."""

import pytest
import torch

from kiloword.evaluation.kernel_distance import kernel, kernel_distance, scaled


def normal(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))


def test_equal_pictures_are_at_zero():
    found = kernel_distance(normal(40, 0), normal(40, 0))
    assert found.value == found.low == found.high == 0


def test_it_is_the_mean_over_pairs_of_different_pictures():
    first, second = normal(5, 1) + 0.5, normal(5, 2)
    x, y = first.double(), second.double()
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    k = [[kernel(a, b) for b in (x, y)] for a in (x, y)]
    mean = sum(k[0][0][p] + k[1][1][p] - k[0][1][p] - k[1][0][p] for p in pairs) / 20
    assert kernel_distance(first, second).value == pytest.approx(float(mean))


def test_it_has_no_bias_at_few_pictures():
    values = [kernel_distance(normal(8, 2 * s), normal(8, 2 * s + 1), resamples=2).value for s in range(200)]
    found = torch.tensor(values, dtype=torch.float64)
    assert abs(found.mean()) < 3 * found.std() / 14 and found.min() < 0


def test_worse_pictures_are_further_away_and_intervals_hold_the_value():
    true = normal(200, 3)
    near, far = (kernel_distance(true + share * normal(200, 4), true) for share in (0.3, 1.0))
    assert near.low <= near.value <= near.high < far.low <= far.value <= far.high
    assert kernel_distance(true * 0.2, true).value > near.value  # less spread is seen too
    assert far == kernel_distance(true + normal(200, 4), true)


def test_an_interval_is_as_wide_as_the_values_are_spread():
    def one(seed: int):
        true = normal(60, seed)
        return kernel_distance(0.7 * true + 0.4 * normal(60, seed + 5000), true, resamples=300)

    found = [one(seed) for seed in range(60)]
    mean = sum(f.value for f in found) / 60
    held = sum(f.low <= mean <= f.high for f in found)
    assert held >= 48  # of 60, 57 expected


def test_features_are_scaled_by_other_pictures():
    like = normal(50, 0) * torch.arange(1, 7) + 3
    found = scaled(like, like)
    assert torch.allclose(found.mean(0), torch.zeros(6).double(), atol=1e-6)
    assert torch.allclose(found.std(0), torch.ones(6).double())
    assert torch.allclose(scaled(like[:2], like), found[:2])


def test_few_pictures_have_an_interval_too():
    found = kernel_distance(normal(2, 0), normal(2, 1))
    assert found.low == found.value == found.high  # there is one pair


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="two pictures or more"):
        kernel_distance(normal(1, 0), normal(1, 0))


def test_what_hardly_differs_in_others_does_not_outweigh_the_rest():
    like = torch.tensor([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    first = torch.tensor([[4.0, 5.5]])
    assert scaled(first, like)[0].tolist() == pytest.approx([1, 0.5e6])
    assert scaled(first, like, least=0.5)[0].tolist() == pytest.approx([1, 1])  # deviations 2 and 0, the mean of them 1
