"""Annealing: from the start to the stop, never up, and then it stays."""

from itertools import pairwise

import pytest

from kiloword.training.annealing import Annealing


def test_a_temperature_falls_and_stays():
    annealing = Annealing(2.0, 0.5, share=0.8)
    temperatures = [annealing.at(done / 100) for done in range(101)]
    assert temperatures[0] == 2.0 and temperatures[40] == pytest.approx(1.25) and temperatures[80:] == [0.5] * 21
    assert all(later < earlier for earlier, later in pairwise(temperatures[:81]))


def test_nonsense_is_refused():
    for wrong in ({"start": 0.0}, {"stop": -1.0}, {"share": 0.0}, {"share": 1.5}):
        with pytest.raises(ValueError, match="above 0"):
            Annealing(**wrong)
