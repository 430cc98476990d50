"""Randomness is a value: the same numbers give the same picture, whatever else is drawn."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword import noise
from kiloword.noise import Recorded, Seeded, sample_categorical

LOGITS = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=6)


@given(LOGITS, st.floats(0, 1, exclude_max=True))
def test_pick_counts_the_cumulative_probabilities_at_or_below_the_number(logits, uniform):
    probabilities = torch.tensor(logits).double().softmax(0).tolist()
    total, wanted = 0.0, 0
    for value, probability in enumerate(probabilities[:-1], start=1):
        total += probability
        if abs(total - uniform) < 1e-12:
            return  # too close to call
        wanted = value if total <= uniform else wanted
    assert sample_categorical(torch.tensor(logits), torch.tensor(uniform, dtype=torch.float64)).item() == wanted


def test_pick_never_takes_what_has_no_probability():
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf])
    uniform = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    assert set(sample_categorical(logits.expand(1000, -1), uniform).tolist()) == {1, 3}


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4))
def test_a_seed_gives_the_same_numbers_in_any_batch(seeds):
    together, pictures = Seeded(seeds), torch.arange(len(seeds))
    uniform, normal = together.uniform((2, 3), pictures), together.normal((4,), pictures)
    for i, seed in enumerate(seeds):
        alone = Seeded([seed])
        assert torch.equal(alone.uniform((2, 3), torch.tensor([0]))[0], uniform[i])
        assert torch.equal(alone.normal((4,), torch.tensor([0]))[0], normal[i])


def test_pictures_that_draw_nothing_do_not_move_on():
    first, second = Seeded([1, 2]), Seeded([1, 2])
    first.uniform((3,), torch.tensor([1]))
    assert torch.equal(first.uniform((3,), torch.tensor([0])), second.uniform((3,), torch.tensor([0])))


def test_seeds_are_whole_numbers_of_63_bits():
    for seed in (-1, 2**63):
        with pytest.raises(ValueError, match=str(seed)):
            Seeded([seed])


def test_a_recording_is_handed_out_in_order_and_ends():
    recorded = Recorded(torch.arange(12.0).view(2, 3, 2))
    pictures = torch.tensor([1, 0])
    assert recorded.uniform((2,), pictures).tolist() == [[6, 7], [0, 1]]
    assert recorded.normal((2, 1), pictures).tolist() == [[[8], [9]], [[2], [3]]]
    recorded.uniform((2,), pictures)
    with pytest.raises(ValueError, match="holds 3 draws"):
        recorded.uniform((2,), pictures)


@given(st.floats(0.01, 1), st.floats(0, 1))
def test_the_true_velocity_leads_from_any_level_to_any_other(level, to):
    generator = torch.Generator().manual_seed(0)
    clean, dirt = torch.randn(2, 5, generator=generator)
    level, to = torch.tensor(level), torch.tensor(to)
    noised, speed = noise.mix(clean, dirt, level), noise.velocity(clean, dirt)
    assert torch.allclose(noise.clean_from_velocity(noised, speed, level), clean, atol=1e-5)
    assert torch.allclose(noise.noise_from_velocity(noised, speed, level), dirt, atol=1e-5)
    assert torch.allclose(noise.euler(noised, speed, level, to), noise.mix(clean, dirt, to), atol=1e-5)
    assert torch.allclose(noise.straight(noised, clean, level, to), noise.ddim(clean, dirt, to), atol=1e-5)
    assert torch.allclose(noise.heun(noised, speed, speed, level, to), noise.ddim(clean, dirt, to), atol=1e-5)
