"""Every legal combination of tokenizer, order and head learns and draws; every other one is refused with a reason."""

from itertools import pairwise

import pytest
import torch

import tiny
from kiloword.document import to_describe, to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.head import Sampling
from kiloword.modality import TextModality
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.parts import TextConfig
from kiloword.prompts.class_label import ClassLabelConfig
from kiloword.tokens import Categorical

PROMPTS = {"text": ["a red apple", None, ""], "class": [0, None, 2]}


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("tokenizer,order,head", tiny.LEGAL)
def test_it_learns(tokenizer, order, head, prompt):
    model = tiny.model(tokenizer, order, head, prompt)
    layout = tiny.layout_of(model)
    pictures = model.picture.tokenizer.encode(tiny.pixels(3), layout)

    def learn():
        documents = [
            *to_learn(PROMPTS[prompt], layout, pictures.target, pictures.shown),
            *to_describe(pictures.shown[:2], layout, list(tiny.TEXTS[:2])),
        ]
        losses = model.loss(documents)
        return losses["picture"].masked(), losses["text"].masked()

    drawn, told = learn()
    assert drawn.shape == (3, layout.count) and torch.isfinite(drawn).all() and (drawn > 0).all()
    assert told.shape[0] == 2 and torch.isfinite(told).all()
    loss = drawn.mean() + told.mean()
    loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in silent if "tokenizer" not in name] == []
    steepness = torch.nn.utils.get_total_norm(p.grad for p in model.parameters() if p.grad is not None)
    assert torch.isfinite(steepness)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.003 * parameter.grad / steepness
    drawn, told = learn()
    assert drawn.mean() + told.mean() < loss


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0), Sampling(0.8, top_k=2, top_p=0.9)], ids=str)
@pytest.mark.parametrize("tokenizer,order,head", tiny.LEGAL)
@torch.no_grad()
def test_it_draws(tokenizer, order, head, sampling):
    model = tiny.model(tokenizer, order, head)
    drawing = tiny.drawing(model, ["a red apple", None], sampling=sampling)
    steps = list(model.draw(drawing, Seeded([1, 2])))
    assert [(p.step, p.steps) for p in steps] == [(k + 1, len(steps)) for k in range(len(steps))]
    known = torch.stack([p.known for p in steps])
    assert known[-1].all() and (known.int().diff(dim=0) >= 0).all()
    for before, after in pairwise(steps):
        assert torch.equal(after.tokens[before.known], before.tokens[before.known])
    model.picture.tokenizer.space.check(steps[-1].tokens)
    drawn = model.picture.tokenizer.decode(steps[-1].tokens, drawing.layout, steps[-1].known)
    assert drawn.shape == (2, 4, tiny.ROWS, tiny.COLUMNS) and torch.isfinite(drawn).all()


@pytest.mark.parametrize("tokenizer,order,head", tiny.ILLEGAL)
def test_it_is_refused(tokenizer, order, head):
    with pytest.raises(ValueError, match=r"the tokenizer gives|use the draft order|use a pyramid"):
        model = tiny.model(tokenizer, order, head)
        tiny.picture_losses(model, ["a pear"], tiny.tokens(model, 1))


def test_modulation_without_a_vector_is_refused():
    with pytest.raises(ValueError, match="modulated, and neither the prompt nor the head has a vector for it"):
        tiny.model("single", "rows", "factorised", modulation=tiny.modulated().modulation)


def test_given_tokens_outside_the_space_are_refused():
    model = tiny.model("single", "rows", "factorised")
    drawing = tiny.drawing(model, ["a pear"], tokens=torch.full((1, 8, 2), 7), given=torch.ones(1, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="token 7 is outside"):
        next(model.draw(drawing, Seeded([0])))


def test_a_picture_with_more_tokens_than_learned_places_is_refused():
    model = tiny.model("single", "rows", "factorised")
    layout = model.picture.tokenizer.layout(2 * tiny.ROWS, tiny.COLUMNS)
    drawing = Drawing(layout, [model.opening(to_draw(["a pear"], layout))], torch.ones(1, 1))
    with pytest.raises(ValueError, match="has 16 tokens, this head has learned 10 positions"):
        next(model.draw(drawing, Seeded([0])))


def test_parts_of_different_widths_are_refused():
    model, wide = tiny.model("single", "rows", "factorised"), 2 * tiny.WIDTH
    with pytest.raises(ValueError, match=r"one width, these differ: transformer 32, prompt 16, picture head 16$"):
        ImageModel(model.picture, model.prompt, tiny.stack(width=wide).build())
    with pytest.raises(ValueError, match="transformer 16, prompt 32, picture head 16, text head 16"):
        ImageModel(model.picture, ClassLabelConfig(3, wide).build(), model.transformer, model.text)
    with pytest.raises(ValueError, match="transformer 16, prompt 16, picture head 16, text head 32"):
        ImageModel(model.picture, model.prompt, model.transformer, text(width=wide))


def test_a_text_head_of_another_vocabulary_is_refused():
    model = tiny.model("single", "rows", "factorised")
    with pytest.raises(ValueError, match=r"text: the tokenizer gives .* and the head predicts Categorical\(size=7\)"):
        ImageModel(model.picture, model.prompt, model.transformer, text(size=7))


def text(size: int | None = None, width: int = tiny.WIDTH) -> TextModality:
    space = Categorical(size or tiny.words().build().space.size)
    return TextConfig(tiny.words(), CategoricalConfig(space, width)).build()
