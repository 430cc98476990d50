"""Use of codes: of joint codes where they can be counted, of single factors where not."""

import pytest
import torch

from kiloword.evaluation.codebook import codebook_use
from kiloword.tokens import Bits, Categorical, Codes, Vector


def use(tokens: list, space, groups: int = 1) -> tuple[float, float]:
    found = codebook_use(torch.tensor(tokens)[None], space, groups)
    return float(found["usage"]), float(found["perplexity"])


def test_ids_are_counted_as_they_are():
    assert use([0, 0, 3, 3], Categorical(8)) == (0.25, pytest.approx(2))


def test_small_factors_are_counted_together():
    diagonal = [[0, 0], [1, 1], [2, 2]]  # every value of each factor, but 3 of 9 codes
    assert use(diagonal, Codes((3, 3))) == (pytest.approx(1 / 3), pytest.approx(3))
    assert use([[0, 1], [1, 0]], Bits(2)) == (0.5, pytest.approx(2))
    assert use([[1, 0], [0, 2], [1, 2], [0, 0]], Codes((2, 3))) == (pytest.approx(4 / 6), pytest.approx(4))


def test_groups_are_counted_one_by_one():
    tokens = [
        [0, 0, 0, 0],
        [0, 1, 1, 1],
        [1, 0, 0, 0],
        [1, 1, 1, 1],
    ]  # all codes, then half of them
    assert use(tokens, Codes((2,) * 4), groups=2) == (pytest.approx(0.75), pytest.approx(3))


def test_factors_of_too_many_codes_are_counted_by_themselves():
    assert use([[0, 5], [1, 5]], Codes((1024, 1024))) == (pytest.approx(1.5 / 1024), pytest.approx(1.5))


def test_vectors_have_no_codes():
    assert codebook_use(torch.zeros(1, 4, 3), Vector(3)) == {}
