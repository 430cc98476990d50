"""Masked order: as many tokens a step as published, each once, in any order; trainings hide a share by chance."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.noise import Recorded, Seeded
from kiloword.orders.masked import Masked, MaskedConfig, counts, in_order, truncated_normal
from kiloword.tokens import Layout

SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))


def published(tokens: int, steps: int) -> list[int]:
    """How many are masked after each step, as the authors count them: at least one until the last step is done."""
    masked, left = tokens, []
    for step in range(steps):
        wanted = math.floor(tokens * math.cos(math.pi / 2 * (step + 1) / steps))
        masked = max(1, min(masked - 1, wanted))
        left.append(masked if step < steps - 1 else 0)
    return left


@given(SIZES)
def test_counts_are_the_published_ones(sizes):
    tokens, steps = sizes
    theirs = published(tokens, steps)
    if steps > tokens:  # steps in which nothing happens are left out
        theirs = [left for left, before in zip(theirs, [tokens, *theirs], strict=False) if left < before]
    assert counts(tokens, steps) == theirs


def test_counts_of_the_published_size():
    assert counts(256, 256) == list(range(255, -1, -1))
    assert counts(256, 64)[:3] == [255, 254, 253] and counts(256, 64)[-3:] == [12, 6, 0]
    assert counts(16, 5) == [15, 12, 9, 4, 0]
    assert counts(5, 1) == [0] and counts(1, 9) == [0]


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 3), st.integers(0, 9))
def test_tokens_become_known_from_the_last_of_the_order_on(tokens, steps, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(tokens, generator=generator) for _ in range(batch)])
    schedule = in_order(order, steps)
    left = counts(tokens, steps)
    assert schedule.steps == len(left)
    for step, masked in enumerate(left):
        for picture in range(batch):
            unknown = schedule.level(step + 1)[picture].nonzero()[:, 0].tolist()
            assert unknown == sorted(order[picture, :masked].tolist())
    visits = torch.stack([schedule.visited(step) for step in range(schedule.steps)])
    assert (visits.sum(0) == 1).all() and (visits.sum(2) == visits.sum(2)[:, :1]).all()


def test_uniforms_select_the_order():
    order = torch.tensor([[2, 0, 3, 1], [1, 3, 0, 2]])
    uniforms = order.argsort(1).double() / 4
    schedule = Masked().schedule(Layout(((2, 2),)), 2, 3, Recorded(uniforms[:, None]))
    assert torch.equal(schedule.start, in_order(order, 3).start)


def test_pictures_have_orders_of_their_own_whatever_the_batch():
    order, layout = MaskedConfig(5).build(), Layout(((5, 4),))
    together = order.schedule(layout, 2, None, Seeded([1, 2])).start
    assert not torch.equal(together[0], together[1])
    assert torch.equal(order.schedule(layout, 1, None, Seeded([2])).start[0], together[1])
    assert together.max() == 4 and order.schedule(layout, 1, 7, Seeded([2])).steps == 7
    assert order.schedule(layout, 2, None, None).start.shape == (2, 20)


@given(st.floats(0, 0.999), st.integers(1, 30), st.sampled_from([0.3, 0.7]))
def test_a_training_hides_one_share_of_all_pictures_rounded_up(uniform, tokens, least):
    class Told:
        """Numbers of which the single ones are given."""

        shuffles = 0

        def uniform(self, shape, pictures):
            if shape == ():
                return torch.full((len(pictures),), uniform, dtype=torch.float64)
            self.shuffles += 1
            return Seeded(range(len(pictures))).uniform(shape, pictures)

        def normal(self, shape, pictures):
            raise AssertionError("a training draws no normal numbers here")

    order, told = MaskedConfig(least=least).build(), Told()
    schedule = order.training_schedule(Layout(((tokens, 1),)), 3, told)
    level = order.training_levels(schedule, told)
    assert told.shuffles == 1  # the schedule is drawn once, and the levels come of it
    assert schedule.steps == tokens and torch.equal(level, schedule.level(tokens - int(level[0].sum())))
    share = truncated_normal(least, 0.25, torch.tensor(uniform))
    assert ((level == 0) | (level == 1)).all()
    assert level.sum(1).tolist() == [math.ceil(share * tokens)] * 3


def test_shares_are_those_of_a_normal_distribution_around_one_cut_on_both_sides():
    uniforms = torch.linspace(0, 1, 1001)
    shares = torch.tensor([truncated_normal(0.7, 0.25, u) for u in uniforms])
    assert shares[0] == pytest.approx(0.7, abs=1e-4) and shares[-1] == 1 and (shares.diff() >= 0).all()
    normal = torch.distributions.Normal(1.0, 0.25)
    below = (normal.cdf(shares) - normal.cdf(torch.tensor(0.7))) / (0.5 - normal.cdf(torch.tensor(0.7)))
    assert torch.allclose(below, uniforms, atol=1e-4)


def test_known_tokens_are_fed_themselves_and_unknown_ones_nothing():
    shown, level, layout = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[0.0, 1.0, 0.0, 1.0]]), Layout(((2, 2),))
    order = Masked()
    fed = order.feed(shown, order.schedule(layout, 1, None, None), level, torch.tensor([[3, 0, 2]]), layout)
    assert fed.tokens.tolist() == [[8, 5, 7]] and fed.index.tolist() == [[3, 0, 2]]
    assert fed.real.tolist() == [[False, True, True]] and fed.level.tolist() == [[1, 0, 0]]


def test_wrong_settings_are_refused():
    for wrong in ({"steps": 0}, {"least": 0.0}, {"least": 1.0}, {"deviation": 0.0}):
        with pytest.raises(ValueError, match="steps start at 1"):
            MaskedConfig(**wrong)
