"""Losses have a mask of what is asked for, and a token counts by it, even where its loss is 0."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

import tiny
from kiloword.document import to_describe, to_draw, to_learn
from kiloword.embedding import Loss, joined
from kiloword.model import ImageModel
from kiloword.tokens import Picture, Text

GAP = 40.0  # between logits: exp(-40) is nothing beside 1 in float32

MASKS = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4)


def loss_of(mask: list[list[bool]], seed: int = 0) -> Loss:
    """Some of the losses are exactly 0."""
    values = torch.randint(3, (len(mask), len(mask[0])), generator=torch.Generator().manual_seed(seed)).float()
    return Loss(values, torch.tensor(mask), torch.arange(len(mask)), torch.full((len(mask),), seed))


def sure(model: ImageModel, picture: int = 0, word: int = 0) -> ImageModel:
    """Both heads are sure of one value, whatever they are given."""
    for head, value in ((model.picture.head, picture), (model.text.head, word)):
        head.output = torch.nn.Linear(tiny.WIDTH, head.space.size)
        torch.nn.init.zeros_(head.output.weight)
        head.output.bias.data = GAP * torch.eye(head.space.size)[value]
    return model


def test_a_gap_of_40_is_a_loss_of_exactly_nothing():
    logits = GAP * torch.eye(5)[:1]
    assert cross_entropy(logits, torch.tensor([0])) == 0 and cross_entropy(logits, torch.tensor([1])) == GAP


def test_a_token_whose_loss_is_nothing_counts():
    values = cross_entropy(GAP * torch.eye(5)[:4], torch.tensor([0, 1, 0, 3]), reduction="none")[None]
    assert values.tolist() == [[0, 0, GAP, 0]]
    loss = Loss(values, torch.tensor([[True, True, True, False]]), *torch.zeros(2, 1).long())
    assert loss.mean() == pytest.approx(GAP / 3) and loss.of_documents(1).tolist() == pytest.approx([GAP / 3])
    assert values.sum() / (values != 0).sum() == GAP  # what a count of losses that are not 0 would have said


@given(MASKS)
def test_means_are_of_what_is_asked_for(mask):
    loss, count = loss_of(mask), sum(map(sum, mask))
    chosen = [value for row, asked in zip(loss.values.tolist(), mask, strict=True) for value, here in
              zip(row, asked, strict=True) if here]  # fmt: skip
    assert float(loss.mean()) == pytest.approx(sum(chosen) / max(count, 1), abs=1e-6)
    assert float(loss.masked().sum()) == sum(chosen) and not loss.masked()[~loss.mask].any()


@given(MASKS, MASKS)
def test_losses_of_several_lots_are_one_loss(first, second):
    one, two = loss_of(first), loss_of([[*row, True] for row in second], seed=1)
    both = joined([one, two])
    assert both.mask.shape == (len(first) + len(second), 4) and not both.mask[both.segment == 0, 3].any()
    assert float(both.masked().sum()) == float(one.masked().sum() + two.masked().sum())
    places = [(document, lot) for lot, mask in enumerate((first, second)) for document in range(len(mask))]
    assert list(zip(both.document.tolist(), both.segment.tolist(), strict=True)) == sorted(places)
    for document, lot, mask in zip(both.document, both.segment, both.mask, strict=True):
        before = (one, two)[int(lot)].mask[int(document)]
        assert torch.equal(mask[: len(before)], before)
    of = both.of_documents(5)
    for document in range(5):
        mine = both.mask & (both.document == document)[:, None]
        expected = both.values[mine].mean() if mine.any() else torch.tensor(0.0)
        assert torch.allclose(of[document], expected)


@torch.no_grad()
def test_a_picture_token_that_a_model_is_sure_of_counts():
    model = sure(tiny.model("shades", "rows", "categorical"), picture=2)
    tokens = torch.full((2, 8), 2)
    tokens[0, 3] = 1
    documents = to_learn(["a pear", "blue house"], tiny.layout_of(model), tokens)
    loss = model.loss(documents)["picture"]
    assert loss.mask.all() and sorted(loss.values.unique().tolist()) == [0, GAP]
    assert loss.mean() == pytest.approx(GAP / 16) and loss.of_documents(2).tolist() == pytest.approx([GAP / 8, 0])


@torch.no_grad()
def test_a_word_that_a_model_is_sure_of_counts_and_what_is_behind_the_end_does_not():
    model = tiny.model("shades", "rows", "categorical")
    texts = ["a pear", "blue house"]
    ids, present = model.text.encode(texts)
    word = int(ids[0, 0])
    loss = sure(model, word=word).loss(to_describe(tiny.tokens(model, 2), tiny.layout_of(model), texts))["text"]
    assert torch.equal(loss.mask, present) and loss.values[0, 0] == 0
    wrong = int((present & (ids != word)).sum())
    assert 0 < wrong < int(present.sum()) and loss.mean() == pytest.approx(GAP * wrong / int(present.sum()))


def test_what_is_asked_for_is_named_and_nothing_else():
    model = tiny.model("shades", "rows", "categorical")
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 2)
    drawn, described = to_learn(["a", "b"], layout, tokens), to_describe(tokens, layout, ["a", "b"])
    assert set(model.loss(drawn)) == {"picture"} and set(model.loss(described)) == {"text"}
    both = model.loss([drawn[0], described[1]])
    assert {name: loss.document.tolist() for name, loss in both.items()} == {"picture": [0], "text": [1]}


def test_what_cannot_be_learned_is_refused():
    model = tiny.model("shades", "rows", "categorical")
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 1)
    with pytest.raises(ValueError, match="nothing is to be predicted"):
        model.loss([[Text("a pear"), Picture(layout, tokens[0])]])
    with pytest.raises(ValueError, match="needs tokens"):
        model.loss(to_draw(["a pear"], layout))
    model.text = None
    with pytest.raises(ValueError, match="this model only draws"):
        model.loss(to_describe(tokens, layout, ["a pear"]))
