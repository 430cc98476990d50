"""An order visits every token once and feeds each only what is known by then."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.orders.order import NOWHERE, Order, grouped_as, itself, rank_at
from kiloword.orders.raster import RasterConfig
from kiloword.orders.raster_1d import Raster1DConfig
from kiloword.tokens import Layout, Schedule

SIDES = st.tuples(st.integers(1, 4), st.integers(1, 4))
DRAWN = st.one_of(
    st.tuples(st.sampled_from(["rows", "columns"]), st.tuples(SIDES)),
    st.tuples(st.just("draft"), st.lists(SIDES, min_size=2, max_size=3).map(tuple)),
)


@given(DRAWN)
def test_every_token_becomes_known_exactly_once(drawn):
    name, sizes = drawn
    schedule = tiny.ORDERS[name].build().schedule(Layout(sizes), 2, None, None)
    visits = torch.stack([schedule.visited(step) for step in range(schedule.steps)], dim=1)
    assert (visits.sum(1) == 1).all() and (visits.sum(2) >= 1).all()
    assert (schedule.level(schedule.steps) == 0).all()


@given(DRAWN)
def test_a_token_is_fed_the_one_that_became_known_last(drawn):
    name, sizes = drawn
    order, layout = tiny.ORDERS[name].build(), Layout(sizes)
    n = layout.count
    schedule = order.schedule(layout, 1, None, None)
    step = schedule.start[0].long()
    fed = order.feed(torch.arange(n)[None], schedule, torch.ones(1, n), torch.arange(n)[None], layout)
    assert fed.index.tolist() == [list(range(n))]
    assert fed.real[0].tolist() == (step > 0).tolist()
    for token in range(n):
        if step[token] > 0:
            assert step[fed.tokens[0, token]] == step[token] - 1


@given(DRAWN, st.data())
def test_picking_some_tokens_feeds_them_as_picking_all(drawn, data):
    name, sizes = drawn
    order, layout = tiny.ORDERS[name].build(), Layout(sizes)
    n = layout.count
    some = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1)))
    shown, level = torch.arange(n)[None] + 100, torch.rand(1, n)
    schedule = order.schedule(layout, 1, None, None)
    everything = order.feed(shown, schedule, level, torch.arange(n)[None], layout)
    fed = order.feed(shown, schedule, level, torch.tensor([some]), layout)
    for field in ("tokens", "real", "level", "index"):
        assert torch.equal(getattr(fed, field), getattr(everything, field)[:, some])


def test_paths():
    layout = Layout(((2, 3),))
    start = {name: tiny.ORDERS[name].build().schedule(layout, 1, None, None).start[0] for name in ("rows", "columns")}
    assert start["rows"].tolist() == [0, 1, 2, 3, 4, 5]
    assert start["columns"].tolist() == [0, 2, 4, 1, 3, 5]


def test_the_draft_comes_first():
    layout = Layout(((1, 2), (2, 3)))
    start = tiny.ORDERS["draft"].build().schedule(layout, 1, None, None).start[0]
    assert start[layout.part(0)].max() < start[layout.part(1)].min()


@pytest.mark.parametrize("name", tiny.ORDERS)
def test_every_token_is_to_be_learned(name):
    layout = Layout(((1, 1), (2, 2)) if name == "draft" else ((2, 2),))
    order = tiny.ORDERS[name].build()
    schedule = order.training_schedule(layout, 3, None)
    assert torch.equal(schedule.start, order.schedule(layout, 3, None, None).start)
    assert (order.training_levels(schedule, None) == 1).all()


def test_layouts_that_an_order_cannot_draw_are_refused():
    with pytest.raises(ValueError, match="this layout has 2: use the draft order"):
        tiny.ORDERS["rows"].build().schedule(Layout(((1, 1), (2, 2))), 1, None, None)
    with pytest.raises(ValueError, match="single grid: use a pyramid"):
        tiny.ORDERS["draft"].build().schedule(Layout(((2, 2),)), 1, None, None)
    with pytest.raises(ValueError, match="'zigzag'"):
        RasterConfig("zigzag")


def test_a_picture_that_is_read_is_fed_itself():
    fed = itself(torch.tensor([[5, 6, 7]]))
    assert fed.tokens.tolist() == [[5, 6, 7]] and fed.index.tolist() == [[0, 1, 2]]
    assert fed.real.all() and not fed.level.any()


@given(st.lists(st.permutations(range(6)), min_size=1, max_size=3))
def test_each_picture_goes_by_its_own_schedule(ranks):
    start, layout, n = torch.tensor(ranks).float(), Layout(((2, 3),)), 6
    schedule, everything = Schedule(start, start + 1), torch.arange(n).expand(len(ranks), -1)
    shown = everything + 10 * torch.arange(len(ranks))[:, None]
    fed = RasterConfig().build().feed(shown, schedule, torch.ones(shown.shape), everything, layout)
    seats = RasterConfig(position_of="fed").build().row_positions(schedule, layout)
    for picture, rank in enumerate(ranks):
        for token in range(n):
            before = rank.index(rank[token] - 1) if rank[token] else NOWHERE
            assert seats[picture, token] == before and fed.real[picture, token] == (before != NOWHERE)
            assert before == NOWHERE or fed.tokens[picture, token] == 10 * picture + before
    assert torch.equal(RasterConfig().build().row_positions(schedule, layout), everything)


@pytest.mark.parametrize("name", tiny.ORDERS)
def test_who_sees_whom_is_what_becomes_known_first(name):
    layout = Layout(((1, 1), (2, 2)) if name == "draft" else ((2, 2),))
    order, nothing = tiny.ORDERS[name].build(), torch.zeros(3, layout.count).bool()
    schedule = order.schedule(layout, 3, None, None)
    assert isinstance(order, Order) and order.causal and not order.feeds_canvas and not order.gradual
    for step in range(schedule.steps):
        assert torch.equal(rank_at(order, schedule, step, layout, nothing), schedule.start.long())


def test_only_tokens_that_are_spelled_take_time():
    layout = Layout(((2, 3),))
    assert Raster1DConfig().build().times(layout).tolist() == [0, 1, 2, 3, 4, 5]
    assert all(RasterConfig(path).build().times(layout) is None for path in ("rows", "snake"))
    assert tiny.ORDERS["draft"].build().times(Layout(((1, 1), (2, 2)))) is None


@pytest.mark.parametrize("name", tiny.ORDERS)
def test_what_becomes_known_at_once_has_no_noise_and_no_groups(name):
    order = tiny.ORDERS[name].build()
    assert grouped_as(order, None) is order
    with pytest.raises(ValueError, match="4 groups: this order makes each token known at once"):
        grouped_as(order, (4, 0.5))
    with pytest.raises(ValueError, match="there is no noise in its tokens"):
        order.noised(torch.zeros(1, 4, 2), torch.ones(1, 4), None)
