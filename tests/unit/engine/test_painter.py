"""Parts of the painter that no drawing shows: kept tokens on any grid, and weights step by step."""

import pytest
import torch

import tiny
from kiloword.engine.card import Card
from kiloword.engine.guidance import GuidanceConfig
from kiloword.engine.painter import Painter, kept_tokens
from kiloword.engine.request import Request
from kiloword.tokens import Layout, Schedule


def test_a_token_is_kept_if_every_pixel_that_it_touches_is():
    kept = torch.ones(8, 8, dtype=torch.bool)
    kept[2, 5] = False
    given = kept_tokens(Layout(((1, 1), (2, 2), (3, 3), (8, 8))), kept)[0]
    assert not given[0] and given[1:5].tolist() == [True, False, True, True]
    assert given[5:14].view(3, 3).tolist() == [[True, False, False], [True, False, False], [True, True, True]]
    assert given[14:].view(8, 8).equal(kept)


@pytest.mark.parametrize("guidance", [2.2, 3.3, -0.1])
def test_weights_are_those_of_one_step_to_the_last_bit(guidance):
    start = torch.arange(5.0).expand(2, -1)
    weights = GuidanceConfig().weights(guidance, Schedule(start, start + 1))
    assert weights.shape == (5, 2, 2)
    assert weights[3].equal(torch.tensor([[guidance], [1 - guidance]]).expand(2, 2))


def test_a_course_is_that_of_the_order(tiny_model):
    model = tiny.model("single", "rows", "factorised", prompt="class")
    card = Card("it", ((tiny.ROWS, tiny.COLUMNS),), guidance=8.0, prompts="class", course="ramp", first=2)
    painter = Painter(model, card)
    drawing = painter._drawing(Request(1, n=2), tiny.layout_of(model))
    assert drawing.weights[:, 0, 1].tolist() == [1, 1, 3, 4, 5, 6, 7, 8]
    assert drawing.weights.sum(1).eq(1).all() and drawing.weights.shape == (8, 2, 2)
    off = painter._drawing(Request(1, guidance=1.0), tiny.layout_of(model))
    assert len(off.views) == 1 and off.weights.eq(1).all()


def test_what_is_worked_out_is_not_guided():
    model = tiny.way("directions and a decoder")
    painter = Painter(model, Card("it", ((2 * tiny.ROWS, 2 * tiny.COLUMNS),), prompts="class"))
    assert painter.generate(1, seed=3)[0].size == (2 * tiny.COLUMNS, 2 * tiny.ROWS)
    with pytest.raises(ValueError, match=r"^a regressed token cannot be guided: guidance is 1 \(off\) .* got 3$"):
        painter._drawing(Request(1, guidance=3.0), tiny.layout_of(model))
