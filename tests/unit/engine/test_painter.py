"""Parts of the painter that no drawing shows: kept tokens on any grid, and weights step by step."""

import pytest
import torch

import tiny
from kiloword import checkpoint, parts
from kiloword.engine.card import Card
from kiloword.engine.cpu.optimise import optimise_for_cpu
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
    drawing = painter._drawing(painter.resolve(Request(1, n=2)))
    assert drawing.weights[:, 0, 1].tolist() == [1, 1, 3, 4, 5, 6, 7, 8]
    assert drawing.weights.sum(1).eq(1).all() and drawing.weights.shape == (8, 2, 2)
    off = painter._drawing(painter.resolve(Request(1, guidance=1.0)))
    assert len(off.views) == 1 and off.weights.eq(1).all()


def test_what_is_worked_out_is_not_guided():
    model = tiny.way("directions and a decoder")
    painter = Painter(model, Card("it", ((2 * tiny.ROWS, 2 * tiny.COLUMNS),), prompts="class"))
    assert painter.generate(1, seed=3)[0].size == (2 * tiny.COLUMNS, 2 * tiny.ROWS)
    with pytest.raises(ValueError, match=r"^a regressed token cannot be guided: guidance is 1 \(off\) .* got 3$"):
        painter.resolve(Request(1, guidance=3.0))


def facts(model: torch.nn.Module) -> list:
    """All that constructing something around a model could change in it."""
    parts = [(name, type(part), part.training, sorted(vars(part))) for name, part in model.named_modules()]
    return [parts, [(name, p.stride(), p.data_ptr(), p.requires_grad) for name, p in model.named_parameters()]]


def test_a_painter_changes_nothing_in_a_model():
    model = tiny.model("pyramid", "draft", "factorised").train()
    before = facts(model)
    painter = Painter(model, Card("it", ((tiny.ROWS, tiny.COLUMNS),)))
    assert facts(model) == before
    with pytest.raises(ValueError, match=r"it is in training mode: call model\.eval\(\)"):
        painter.stream("a pear")
    model.eval()
    before = facts(model)
    painter.generate("a pear", seed=1)
    assert facts(model) == before


def test_a_model_that_was_made_fast_is_saved_as_it_was_and_draws_the_same(tmp_path):
    config = parts.ImageModelConfig(
        parts.ModalityConfig(tiny.autoencoder(), parts.RasterConfig(), tiny.HEADS["factorised"]),
        parts.TextPrefixConfig(tiny.words(), tiny.WIDTH), tiny.stack(),
    )  # fmt: skip
    torch.manual_seed(0)
    model, card = tiny.awake(config.build()).eval(), Card("it", ((tiny.ROWS, tiny.COLUMNS),), guidance=2.0)
    plain = Painter(model, card).generate("a pear", seed=1)[0].tobytes()
    checkpoint.save(tmp_path / "plain", model, card, config, torch.float32)
    fast = optimise_for_cpu(model)
    assert fast is model and Painter(fast, card).generate("a pear", seed=1)[0].tobytes() == plain
    checkpoint.save(tmp_path / "fast", fast, card, config, torch.float32)
    files = [(tmp_path / name / checkpoint.WEIGHTS).read_bytes() for name in ("plain", "fast")]
    assert files[0] == files[1]
