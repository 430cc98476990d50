"""The canvas that is kept gives what the slow one paints anew, number for number, and paints each grid once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tiny
from kiloword.engine.canvas import RunningCanvas
from kiloword.engine.drive import draw
from kiloword.modality import Modality
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.tokens import Bits

NAMES = ("residual", "bsq-scales")


class Painted(nn.Module):
    """A tokenizer that counts the strokes of its quantizer."""

    def __init__(self, quantizer):
        super().__init__()
        self.multiscale, self.strokes, stroke = quantizer, [], quantizer.stroke

        def counted(tokens, layout, scale):
            self.strokes.append(scale)
            return stroke(tokens, layout, scale)

        quantizer.stroke = counted


class Easel(ImageModel):
    """No more of a model than a canvas needs."""

    def __init__(self, tokenizer):
        nn.Module.__init__(self)
        self.picture = Modality.__new__(Modality)
        nn.Module.__init__(self.picture)
        self.picture.tokenizer = tokenizer


def easel(name: str) -> Easel:
    torch.manual_seed(0)
    return Easel(Painted(tiny.awake(tiny.QUANTIZERS[name].build()).eval()))


def tokens_of(space, layout, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if isinstance(space, Bits):
        return torch.randint(2, (2, layout.count, space.dim), generator=generator)
    return torch.randint(space.size, (2, layout.count), generator=generator)


def layout_of(quantizer):
    return tiny.Layout(quantizer.grids(4, 4))


@pytest.mark.parametrize("name", NAMES)
@given(asked=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=8))
@torch.no_grad()
def test_it_is_the_slow_canvas_whatever_is_asked_in_whichever_order(name, asked):
    model = easel(name)
    quantizer = model.picture.tokenizer.multiscale
    layout = layout_of(quantizer)
    fast, slow = RunningCanvas(model, layout), model.picture.canvas(layout)
    for seed, scale in asked:
        shown, scale = tokens_of(quantizer.space, layout, seed), min(scale, len(layout.sizes) - 1)
        assert torch.equal(fast(shown, scale), slow(shown, scale))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_it_is_begun_anew_when_one_earlier_token_changes_in_place(name):
    model = easel(name)
    layout = layout_of(model.picture.tokenizer.multiscale)
    fast, slow = RunningCanvas(model, layout), model.picture.canvas(layout)
    shown = tokens_of(model.picture.tokenizer.multiscale.space, layout, 0)
    fast(shown, 2)
    shown[1, 0] = 1 - shown[1, 0].clamp(max=1)
    assert torch.equal(fast(shown, 2), slow(shown, 2))
    shown[:, -1] = 1 - shown[:, -1].clamp(max=1)  # of the last grid, which is on no canvas
    model.picture.tokenizer.strokes.clear()
    assert torch.equal(fast(shown, 2), fast(shown, 2)) and model.picture.tokenizer.strokes == []


@torch.no_grad()
def test_a_drawing_paints_every_grid_once():
    model = tiny.way("next scale")
    watched = Painted(model.picture.tokenizer.multiscale)
    *_, fast = draw(model, tiny.drawing(model, [0, 2], 3.0), Seeded([1, 2]))
    assert watched.strokes == [0, 1]
    *_, slow = model.draw(tiny.drawing(model, [0, 2], 3.0), Seeded([1, 2]))
    assert torch.equal(slow.tokens, fast.tokens) and watched.strokes[2:] == [0, 0, 0, 1]


def test_tokenizers_of_one_grid_have_no_canvas():
    model = tiny.model("shades", "rows", "categorical")
    canvas = RunningCanvas(model, tiny.layout_of(model))
    with pytest.raises(ValueError, match="the tokenizer has a single grid"):
        canvas(torch.zeros(1, 8, dtype=torch.long), 0)
