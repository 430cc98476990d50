"""Denoise order: trainings show every kind of moment that a drawing comes through, and noise is mixed in as told."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.noise import Noise, Seeded
from kiloword.orders.denoise import Denoise, DenoiseConfig
from kiloword.orders.order import Order
from kiloword.tokens import Layout

LAYOUT = Layout(((4, 4),))


def learned(order: Denoise, count: int, noise: Noise) -> torch.Tensor:
    """The levels at which the tokens of so many pictures are learned."""
    return order.training_levels(order.training_schedule(LAYOUT, count, noise), noise)


def trained(count: int = 2000, **changes) -> torch.Tensor:
    order = Denoise(DenoiseConfig(**changes))
    assert isinstance(order, Order) and order.gradual and not order.causal
    return learned(order, count, Seeded(range(count)))


def test_pictures_all_at_once_have_one_level_which_is_logit_normal_or_uniform():
    for levels, quarter in (("uniform", 0.25), ("logit-normal", 0.136)):  # P(sigmoid(N) < 1/4) = P(N < -ln 3)
        level = trained(grouped=0, kept=0, levels=levels)
        assert (level == level[:, :1]).all() and ((level > 0) & (level < 1)).all()
        assert abs(float((level[:, 0] < 0.25).float().mean()) - quarter) < 0.03


def test_pictures_in_groups_fall_from_the_first_group_to_the_last_as_their_ramps_do():
    for upwards in (False, True):
        level = trained(grouped=1, kept=0, upwards=upwards)
        steps = (level.flip(1) if upwards else level).diff(dim=1)  # in the order in which tokens are drawn
        assert (steps >= -1e-6).all() and (steps > 0.01).any()
        at_work = (level > 0) & (level < 1)
        assert at_work.any(1).float().mean() > 0.95
        kinds = {len(row.unique()) for row in level}
        assert len(kinds) > 4 and (level == 0).any(1).float().mean() > 0.3 and (level == 1).any(1).float().mean() > 0.3


def test_shares_are_those_that_are_asked_for():
    level = trained(grouped=0.4, kept=0)
    assert abs(float((level != level[:, :1]).any(1).float().mean()) - 0.4) < 0.05
    kept = trained(grouped=0, kept=0.5) == 0
    assert abs(float(kept.any(1).float().mean()) - 0.5) < 0.08 and abs(float(kept.float().mean()) - 0.25) < 0.03


@given(st.integers(0, 99), st.floats(0, 1), st.floats(0, 2))
def test_noise_is_mixed_in_as_told(seed, level, loudness):
    tokens = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed))
    order, levels = Denoise(), torch.tensor([[0.0, level, 1.0]]).expand(2, -1)
    noise = Seeded([seed, 1]).normal((3, 4), torch.arange(2))
    found = order.noised(tokens, levels, Seeded([seed, 1]), loudness)
    assert torch.equal(found[:, 0], tokens[:, 0]) and torch.allclose(found[:, 2], loudness * noise[:, 2], atol=1e-6)
    assert torch.allclose(found[:, 1], (1 - level) * tokens[:, 1] + level * loudness * noise[:, 1], atol=1e-5)


def test_levels_are_those_of_a_picture_s_own_schedule_at_one_moment():
    order, noise = Denoise(DenoiseConfig(grouped=0.5, kept=0)), Seeded(range(200))
    schedule = order.training_schedule(LAYOUT, 200, noise)
    level, at_once = order.training_levels(schedule, noise), schedule.start.amax(1) == 0
    assert (schedule.stop == schedule.start + 1).all() and 60 < at_once.sum() < 140
    for row in (~at_once).nonzero()[:, 0].tolist():
        at_work = ((level[row] > 0) & (level[row] < 1)).nonzero()[:, 0]
        if len(at_work):  # any of these tokens tells the moment
            moment = float(schedule.stop[row, at_work[0]] - level[row, at_work[0]])
            assert 0 <= moment <= float(schedule.stop[row].max())
            assert torch.allclose(level[row], schedule.level(moment)[row], atol=1e-5)


def test_what_a_picture_learns_is_its_own():
    order = Denoise(DenoiseConfig(grouped=0.5))
    together = learned(order, 3, Seeded([4, 5, 6]))
    assert torch.equal(learned(order, 1, Seeded([5]))[0], together[1])
