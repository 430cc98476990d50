"""Random order: by chance in the beginning of a training, raster in the end, with the position of the token that comes
next."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword import parts
from kiloword.document import to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.heads.head import Sampling
from kiloword.noise import Seeded
from kiloword.orders.order import NOWHERE
from kiloword.orders.random import RandomConfig
from kiloword.orders.raster import Raster
from kiloword.tokens import Layout

LAYOUT = Layout(((3, 4),))
RASTER = torch.arange(12)


def test_the_share_of_random_orders_falls_between_two_moments_of_a_training():
    config = RandomConfig(0.5, 0.75)
    assert [config.share(done) for done in (0.0, 0.5, 0.625, 0.75, 1.0)] == [1, 1, 0.5, 0, 0]
    shares = [RandomConfig(0.0, 0.5, 0.2).share(done) for done in (0.0, 0.25, 0.5, 1.0)]
    assert shares == pytest.approx([1, 0.6, 0.2, 0.2])
    assert RandomConfig(0.5, 0.5).share(0.49) == 1 and RandomConfig(0.5, 0.5).share(0.5) == 0


@given(st.floats(0, 1))
def test_so_many_pictures_are_in_a_random_order(done):
    order = RandomConfig().build()
    start = order.training_schedule(LAYOUT, 400, Seeded(range(400)), done).start
    assert torch.equal(start.sort(1).values, RASTER.float().expand(400, -1))  # each token once, one a step
    found = float((start != RASTER).any(1).float().mean())
    assert abs(found - order.config.share(done)) < 0.1


def test_a_picture_is_drawn_as_at_the_end_of_a_training():
    found = RandomConfig().build().schedule(LAYOUT, 2, None, Seeded([1, 2])).start
    assert torch.equal(found, RASTER.float().expand(2, -1))
    free = RandomConfig(last=1.0).build()
    together = free.schedule(LAYOUT, 2, None, Seeded([1, 2])).start
    assert not torch.equal(together[0], together[1])
    assert torch.equal(free.schedule(LAYOUT, 1, None, Seeded([2])).start[0], together[1])


@given(st.integers(0, 99))
def test_a_position_is_fed_the_token_before_it_and_told_which_comes_next(seed):
    order = RandomConfig(last=1.0).build()
    schedule = order.schedule(LAYOUT, 1, None, Seeded([seed]))
    by_step = schedule.start[0].argsort()
    shown = torch.arange(12)[None] + 100
    fed = order.feed(shown, schedule, torch.ones(1, 12), by_step[None], LAYOUT)
    assert fed.tokens[0, 1:].tolist() == (by_step[:-1] + 100).tolist() and fed.real[0].tolist() == [False] + [True] * 11
    assert torch.equal(fed.index[0], by_step) and torch.equal(order.row_positions(schedule, LAYOUT)[0], RASTER)
    behind = RandomConfig(last=1.0, position_of="fed").build().row_positions(schedule, LAYOUT)[0]
    assert behind[by_step].tolist() == [NOWHERE, *by_step[:-1].tolist()]


def test_in_the_end_it_is_raster():
    order, raster = RandomConfig().build(), Raster()
    one, two = (each.schedule(LAYOUT, 1, None, Seeded([0])) for each in (order, raster))
    index, shown = RASTER[None], torch.arange(12)[None]
    assert torch.equal(one.start, two.start)
    fed, wanted = (each.feed(shown, s, torch.ones(1, 12), index, LAYOUT) for each, s in ((order, one), (raster, two)))
    assert torch.equal(fed.tokens, wanted.tokens) and torch.equal(fed.real, wanted.real)


@pytest.mark.parametrize("last", [0.0, 1.0])
def test_pictures_are_learned_by_heart_and_drawn(last):
    """In any order while it is learned, then in raster; or in any order throughout."""
    torch.manual_seed(0)
    pictures = parts.ModalityConfig(tiny.SHADES, RandomConfig(last=last), tiny.HEADS["categorical"])
    model = parts.ImageModelConfig(pictures, parts.TextPrefixConfig(tiny.words(), tiny.WIDTH), tiny.stack()).build()
    layout, tokens, iterations = tiny.layout_of(model), tiny.tokens(model, len(tiny.TEXTS)), 120
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    for iteration in range(iterations):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - iteration / iterations)
        loss = model.loss(to_learn(tiny.TEXTS, layout, tokens), done=iteration / iterations)["picture"].mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.eval()
    with torch.no_grad():
        opening = model.opening(to_draw(tiny.TEXTS, layout))
        *_, drawn = draw(model, Drawing(layout, [opening], torch.ones(1, 4), Sampling(0)), Seeded(range(4)))
    commonest = float((tokens == tokens.mode(dim=0).values).float().mean())  # of each place: it knows no prompt
    assert commonest < 0.7 and torch.equal(drawn.tokens, tokens)


@pytest.mark.parametrize("wrong", [
    {"start": 0.8, "stop": 0.7}, {"start": -0.1}, {"stop": 1.1}, {"last": 2.0}, {"position_of": "here"},
])  # fmt: skip
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        RandomConfig(**wrong)


def test_other_layouts_and_steps_are_refused():
    order = RandomConfig().build()
    with pytest.raises(ValueError, match="draws one grid, this layout has 2"):
        order.schedule(Layout(((1, 1), (2, 2))), 1, None, None)
    with pytest.raises(ValueError, match="one step a token, 12 here, not 5"):
        order.schedule(LAYOUT, 1, 5, None)
