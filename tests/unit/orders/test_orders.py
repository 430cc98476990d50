"""An order visits every token once and feeds each only what is known by then."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.orders.order import itself
from kiloword.orders.raster import RasterConfig
from kiloword.tokens import Layout

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
    step = order.schedule(layout, 1, None, None).start[0].long()
    fed = order.feed(torch.arange(n)[None], torch.ones(1, n), torch.arange(n)[None], layout)
    assert fed.place.tolist() == [list(range(n))]
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
    everything = order.feed(shown, level, torch.arange(n)[None], layout)
    fed = order.feed(shown, level, torch.tensor([some]), layout)
    for field in ("tokens", "real", "level", "place"):
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
    assert (tiny.ORDERS[name].build().lesson(layout, 3, None) == 1).all()


def test_layouts_that_an_order_cannot_draw_are_refused():
    with pytest.raises(ValueError, match="this layout has 2: use the draft order"):
        tiny.ORDERS["rows"].build().schedule(Layout(((1, 1), (2, 2))), 1, None, None)
    with pytest.raises(ValueError, match="single grid: use a pyramid"):
        tiny.ORDERS["draft"].build().schedule(Layout(((2, 2),)), 1, None, None)
    with pytest.raises(ValueError, match="'zigzag'"):
        RasterConfig("zigzag")


def test_a_picture_that_is_read_is_fed_itself():
    fed = itself(torch.tensor([[5, 6, 7]]))
    assert fed.tokens.tolist() == [[5, 6, 7]] and fed.place.tolist() == [[0, 1, 2]]
    assert fed.real.all() and not fed.level.any()
