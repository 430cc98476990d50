"""Guidance after a block: fast is slow, weight 1 is off, and it is another thing than guidance at the output."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.engine.drive import draw
from kiloword.model import ImageModel
from kiloword.noise import Seeded

NAMES = st.sampled_from(["bits by scale", "next scale", "next scale after a prefix", "bits in raster", "masked shades"])
CLASSES = st.lists(st.sampled_from([0, 1, 2, None]), min_size=1, max_size=3)


def drawn(way, model, drawing) -> torch.Tensor:
    return list(way(model, drawing, Seeded(range(drawing.count))))[-1].tokens


@given(NAMES, CLASSES, st.sampled_from([0, -1]), st.data())
@torch.no_grad()
def test_fast_is_slow_whatever_the_weights_of_the_steps(name, prompts, block, data):
    model, b = tiny.way(name), len(prompts)
    plain = tiny.drawing(model, prompts, 2.0)
    steps = model.picture.order.schedule(plain.layout, b, None, Seeded(range(b))).steps
    course = data.draw(st.lists(st.sampled_from([1.0, 2.0, 4.0]), min_size=steps, max_size=steps))
    weights = torch.tensor([[g, 1 - g] for g in course])[..., None].expand(-1, -1, b)
    drawing = replace(plain, weights=weights, after_block=block)
    assert torch.equal(drawn(draw, model, drawing), drawn(ImageModel.draw, model, drawing))


@given(NAMES, CLASSES, st.sampled_from([0, -1]))
@torch.no_grad()
def test_weight_one_is_off(name, prompts, block):
    model = tiny.way(name)
    off = torch.tensor([1.0, 0.0])[:, None].expand(2, len(prompts))
    drawing = replace(tiny.drawing(model, prompts, 2.0), weights=off, after_block=block)
    assert torch.equal(drawn(draw, model, drawing), drawn(draw, model, tiny.drawing(model, prompts)))


@torch.no_grad()
def test_a_sum_of_hidden_vectors_is_no_sum_of_logits():
    model = tiny.way("bits by scale")
    tokens = {
        block: drawn(draw, model, replace(tiny.drawing(model, [0, 1, 2], 4.0), after_block=block))
        for block in (None, 0, 1)
    }
    assert not torch.equal(tokens[None], tokens[0]) and not torch.equal(tokens[0], tokens[1])


@torch.no_grad()
def test_a_block_that_is_not_there_is_named():
    model = tiny.way("bits by scale")
    with pytest.raises(ValueError, match="guidance after block 2: this transformer has 2, 0 to 1"):
        drawn(draw, model, replace(tiny.drawing(model, [0], 2.0), after_block=2))
    masked = tiny.way("masked vectors")
    with pytest.raises(ValueError, match="guidance at the output only"):
        drawn(draw, masked, replace(tiny.drawing(masked, [0], 2.0), after_block=0))
