"""Systems to be compared: about as many parameters in their blocks, and each learns and draws."""

import pytest
import torch

import studying
import tiny
from kiloword import parts
from kiloword.document import to_draw
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.noise import Seeded
from kiloword.recipes import generators


def test_all_have_about_the_same_blocks():
    sizes = {}
    for name in generators.SYSTEMS:
        model = generators.generator(name, 192, 6)
        with torch.device("meta"):
            blocks, head = model.transformer.build(), model.picture.head.build()
        within = head.depth.parameters() if name == "multicode-raster" else ()
        sizes[name] = sum(p.numel() for p in (*blocks.parameters(), *within))
    assert max(sizes.values()) < 1.05 * min(sizes.values()) and 2.5e6 < min(sizes.values()) < 2.8e6


@pytest.mark.parametrize("name", generators.SYSTEMS)
def test_each_learns_and_draws(name: str, monkeypatch):
    monkeypatch.setattr(generators, "vit", studying.networks)
    torch.manual_seed(0)
    model = parts.build(generators.generator(name, 64, 2))
    layout = model.picture.tokenizer.layout(64, 64)
    tokens = model.picture.tokenizer.encode(torch.rand(2, 4, 64, 64) * 2 - 1, layout).target
    loss = tiny.picture_losses(model, ["a", "b"], tokens, layout=layout)
    loss.sum().backward()
    assert loss.shape == tokens.shape[:2] and torch.isfinite(loss).all()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
    with torch.no_grad():
        drawing = Drawing(layout, [model.opening(to_draw(["a"], layout))], torch.ones(1, 1))
        *_, last = draw(model.eval(), drawing, Seeded([1]))
    assert last.known.all() and last.tokens.shape == tokens[:1].shape


def test_sizes_that_cannot_be_divided_are_refused():
    for size in ((100, 4), (0, 4), (64, 3), (64, 0)):
        with pytest.raises(ValueError, match="multiple of 64 and the depth of 2"):
            generators.generator("vq-raster", *size)
