"""Next-scale order: a grid a step, each fed what the grids before it have painted and nothing that comes later."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.orders.next_scale import NextScaleConfig
from kiloword.orders.order import Order
from kiloword.tokens import Layout, Schedule

SIDES = st.tuples(st.integers(1, 4), st.integers(1, 4))
GRIDS = st.lists(SIDES, min_size=1, max_size=4).map(tuple)
ORDER = NextScaleConfig().build()


def painter(layout: Layout):
    """A canvas whose cell holds the sum of all tokens of earlier grids, and the number of the cell."""

    def canvas(shown: torch.Tensor, scale: int) -> torch.Tensor:
        h, w = layout.sizes[scale]
        total = shown[:, : layout.part(scale).start].sum(1).float()
        cells = torch.arange(h * w).view(1, h, w).float().expand(len(shown), -1, -1)
        return torch.stack([total[:, None, None].expand_as(cells), cells], dim=1)

    return canvas


def feed(layout: Layout, shown: torch.Tensor, pick: list[int]):
    rows = torch.tensor(pick).expand(len(shown), -1)
    schedule = ORDER.schedule(layout, len(shown), None, None)
    return ORDER.feed(shown, schedule, torch.ones(shown.shape), rows, layout, painter(layout))


def rank_of(schedule: Schedule, layout: Layout) -> torch.Tensor:
    """Who sees whom, in the middle of a drawing."""
    nothing, known = torch.zeros_like(schedule.start).bool(), schedule.known(1)
    return ORDER.attention_rank(schedule, layout, nothing, known, schedule.visited(1))


def test_it_is_an_order_that_paints():
    assert isinstance(ORDER, Order) and ORDER.causal and ORDER.feeds_canvas and not ORDER.gradual


@given(GRIDS)
def test_a_whole_grid_becomes_known_at_each_step(sizes):
    layout = Layout(sizes)
    schedule = ORDER.schedule(layout, 2, None, None)
    assert schedule.steps == len(layout.sizes)
    for step in range(schedule.steps):
        visited = torch.zeros(layout.count, dtype=torch.bool)
        visited[layout.part(step)] = True
        assert torch.equal(schedule.visited(step), visited.expand(2, -1))
        assert torch.equal(schedule.level(step)[0] == 1, torch.arange(layout.count) >= layout.part(step).start)
    assert (schedule.level(schedule.steps) == 0).all()


def test_there_is_a_step_for_every_grid_and_no_other_number_of_them():
    layout = Layout(((1, 1), (2, 2), (3, 3)))
    assert torch.equal(ORDER.schedule(layout, 1, 3, None).start, ORDER.schedule(layout, 1, None, None).start)
    with pytest.raises(ValueError, match="one step a grid, 3 here, not 4"):
        ORDER.schedule(layout, 1, 4, None)


@given(GRIDS)
def test_every_token_is_to_be_learned_and_sits_in_its_own_place(sizes):
    layout = Layout(sizes)
    schedule = ORDER.training_schedule(layout, 3, None)
    assert torch.equal(schedule.start, ORDER.schedule(layout, 3, None, None).start)
    assert (ORDER.training_levels(schedule, None) == 1).all()
    assert torch.equal(ORDER.row_positions(schedule, layout), torch.arange(layout.count).expand(3, -1))
    assert ORDER.times(layout) is None and torch.equal(rank_of(schedule, layout), schedule.start.long())


@given(GRIDS, st.data())
def test_each_row_is_fed_its_cell_of_the_canvas(sizes, data):
    layout = Layout(sizes)
    pick = sorted(data.draw(st.sets(st.integers(0, layout.count - 1), min_size=1)))
    shown = torch.randint(9, (2, layout.count), generator=torch.Generator().manual_seed(0))
    fed = feed(layout, shown, pick)
    assert fed.tokens.shape == (2, len(pick), 2) and fed.index.tolist() == [pick, pick]
    rank = ORDER.rank(layout)
    for row, place in enumerate(pick):
        start = layout.part(int(rank[place])).start
        assert fed.tokens[:, row, 0].tolist() == shown[:, :start].sum(1).tolist()
        assert fed.tokens[0, row, 1] == place - start
    assert fed.real.tolist() == [[bool(rank[place] > 0) for place in pick]] * 2


@given(GRIDS, st.data())
def test_a_token_is_fed_to_later_grids_only(sizes, data):
    layout = Layout(sizes)
    token = data.draw(st.integers(0, layout.count - 1))
    shown = torch.zeros(1, layout.count, dtype=torch.long)
    changed = shown.clone()
    changed[0, token] = 1
    everything = list(range(layout.count))
    moved = (feed(layout, shown, everything).tokens != feed(layout, changed, everything).tokens).any(-1)[0]
    rank = ORDER.rank(layout)
    assert torch.equal(moved, rank > rank[token])


def test_without_a_canvas_nothing_can_be_fed():
    layout = Layout(((1, 1), (2, 2)))
    with pytest.raises(ValueError, match="no canvas is there"):
        schedule = ORDER.schedule(layout, 1, None, None)
        ORDER.feed(torch.zeros(1, 5), schedule, torch.ones(1, 5), torch.tensor([[0]]), layout)
