"""Documents of any segments: nothing is seen before its time, packed is alone, and cached is uncached is taught."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import documents
import tiny
from kiloword.document import drawn, twice
from kiloword.drawing import Drawing
from kiloword.engine.drive import alone, draw
from kiloword.engine.task import ReadTask
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.tokens import Document, Layout, Picture, Text

NAMES = st.sampled_from(documents.NAMES)


def losses(name: str, document: Document, seed: int = 0, capacity: int = 1) -> dict[int, torch.Tensor]:
    """The losses of each segment of a document that is asked for, by the segment's place, under the same chance each
    time."""
    model = documents.model(name)
    torch.manual_seed(seed)
    found = model.loss([document], capacity=capacity)
    kinds = {"picture": [k for k, s in enumerate(document) if drawn(s)]}
    kinds["prompt"] = [
        k for k, s in enumerate(document[:-1])
        if isinstance(s, Text) and s.predict and model.prompt.predicted and drawn(document[k + 1])
    ]  # fmt: skip
    kinds["text"] = [
        k for k, s in enumerate(document) if isinstance(s, Text) and s.predict and k not in kinds["prompt"]
    ]  # fmt: skip
    apart = {}
    for kind, loss in found.items():
        asked = loss.mask.any(1) if kind == "prompt" else torch.ones(len(loss.mask), dtype=torch.bool)
        assert int(asked.sum()) == len(kinds[kind])
        rows = zip(loss.masked()[asked], loss.mask[asked], strict=True)
        for k, (values, mask) in zip(kinds[kind], rows, strict=True):
            apart[k] = values[: int(mask.nonzero().max()) + 1]
    return apart


@given(NAMES, st.data())
@torch.no_grad()
def test_no_segment_sees_a_later_one(name, data):
    document = documents.built(name, data.draw(documents.plans(name)))
    place = data.draw(st.integers(0, len(document) - 1))
    changed = [*document[:place], documents.other(name, document[place]), *document[place + 1 :]]
    before, after = losses(name, document), losses(name, changed)
    for k in before.keys() & after.keys():
        if k < place:
            assert torch.allclose(before[k], after[k], atol=1e-4), (k, place)


@given(NAMES, st.data())
@torch.no_grad()
def test_later_segments_see_a_picture_that_was_drawn_as_it_is_read_and_never_its_drawing(name, data):
    document = [Text("a red apple"), documents.picture(name, (4, 2), 3, predict=True)]
    if data.draw(st.booleans()):
        size = data.draw(st.sampled_from(documents.SIZES))
        document += [Text("a pear"), documents.picture(name, size, 4, predict=True)]
    document += [Text("blue house", predict=True)]
    shown = replace(document[1], shown=documents.picture(name, (4, 2), 77, True).tokens)
    before, after = losses(name, document), losses(name, [document[0], shown, *document[2:]])
    assert name == "prefix, masked" or not torch.allclose(before[1], after[1], atol=1e-4)  # all may be masked
    for k in before.keys() - {1}:
        assert torch.equal(before[k], after[k])
    other = replace(document[1], tokens=documents.picture(name, (4, 2), 77, True).tokens, shown=document[1].tokens)
    seen = losses(name, [document[0], other, *document[2:]])
    for k in before.keys() - {1}:
        assert not torch.allclose(before[k], seen[k], atol=1e-5)


@given(NAMES, st.data())
@torch.no_grad()
def test_a_picture_that_is_read_on_is_laid_twice(name, data):
    document = documents.built(name, data.draw(documents.plans(name)))
    laid, last = twice(document), len(document) - 1
    assert sum(map(drawn, laid)) == sum(map(drawn, document))
    assert len(laid) == len(document) + sum(drawn(segment) for segment in document[:last])
    for before, after in pairwise(laid):
        if drawn(before):
            assert after == replace(before, predict=False) or torch.equal(after.tokens, before.tokens)
    embedding = documents.model(name).embedding([document])
    embedding.read_prompts(), embedding.draw_pictures(None, 1.0), embedding.read_pictures(), embedding.write_texts()
    stream = embedding.lay(None, False).stream
    private = torch.zeros_like(stream.present) if stream.private is None else stream.private
    assert int(private.sum()) == sum(segment.layout.count for segment in document[:last] if drawn(segment))


@given(NAMES, st.data())
@torch.no_grad()
def test_a_document_costs_the_same_packed_with_others_as_alone(name, data):
    drawn_plans = data.draw(st.lists(documents.plans(name), min_size=2, max_size=4))
    several = [documents.built(name, plan) for plan in drawn_plans]
    model, capacity = documents.model(name), data.draw(st.integers(1, 120))
    numbers, pictures = [], 0
    for document in several:  # every picture has numbers of its own
        count = sum(map(drawn, document))
        numbers.append(range(pictures, pictures + count))
        pictures += count
    together = model.loss(several, Seeded(range(pictures)) if pictures else None, capacity)
    for row, document in enumerate(several):
        own = model.loss([document], Seeded(numbers[row]) if numbers[row] else None, 1)
        for kind, loss in own.items():
            rows = together[kind].document == row
            if name == "prefix, masked" and kind == "picture":
                continue  # the masked share is one of a whole batch
            several_losses = (together[kind].masked(), together[kind].mask)
            both, mask = (part[rows][:, : loss.mask.shape[1]] for part in several_losses)
            assert torch.allclose(both, loss.masked(), atol=1e-4) and torch.equal(loss.mask, mask)


@given(NAMES, st.data())
@torch.no_grad()
def test_a_text_behind_any_document_is_as_likely_read_through_a_cache_as_it_is_taught(name, data):
    before = documents.built(name, data.draw(documents.plans(name, 3)))
    document = [*before, Text(data.draw(st.sampled_from(tiny.TEXTS)), predict=True)]
    model = documents.model(name)
    task = ReadTask(model, [document], [[document[-1].words]])
    for _ in alone(task, model.transformer):
        pass
    assert torch.allclose(task.log_likelihood()[0], -losses(name, document)[len(document) - 1].sum(), atol=1e-3)


@given(NAMES, st.sampled_from([1.0, 2.0]), st.data())
@torch.no_grad()
def test_a_picture_behind_any_document_is_drawn_the_same_fast_and_slow(name, guidance, data):
    layout = Layout((data.draw(st.sampled_from(documents.SIZES)),))
    model, ask = documents.model(name), [Text("a red apple"), Picture(layout, predict=True)]
    drawn_plans = data.draw(st.lists(documents.plans(name, 3), min_size=1, max_size=2))
    history = [[*documents.built(name, plan), *ask] for plan in drawn_plans]
    weights = torch.tensor([[guidance], [1 - guidance]]).expand(2, len(history))
    without = [[*document[:-2], Text(None), document[-1]] for document in history]
    drawing = Drawing(layout, [model.opening(history), model.opening(without)], weights)
    seeds = range(len(history))
    slow, fast = (list(way(model, drawing, Seeded(seeds))) for way in (ImageModel.draw, draw))
    for one, two in zip(slow, fast, strict=True):
        assert torch.allclose(one.tokens.float(), two.tokens.float(), atol=1e-4)
    for row, document in enumerate(history):
        views = [model.opening([document]), model.opening([without[row]])]
        own = list(draw(model, Drawing(layout, views, weights[:, :1]), Seeded([row])))[-1]
        assert torch.allclose(own.tokens[0].float(), fast[-1].tokens[row].float(), atol=1e-4)


@pytest.mark.parametrize("name", ["prefix, raster", "prefix, codes", "stream of text", "chat template"])
@given(data=st.data())
@torch.no_grad()
def test_cached_hidden_vectors_of_a_last_picture_are_those_of_teaching(name, data):
    model = documents.model(name)
    target = documents.picture(name, data.draw(st.sampled_from(documents.SIZES)), 5, predict=True)
    document = [*documents.built(name, data.draw(documents.plans(name, 3))), Text("a red apple"), target]
    given_tokens = {"tokens": target.tokens[None], "given": torch.ones(1, target.layout.count, dtype=torch.bool)}
    drawing = Drawing(target.layout, [model.opening([document])], torch.ones(1, 1), **given_tokens)
    head, overheard = model.picture.head, tiny.RecordingHead(model.picture.head)
    model.picture.head = overheard
    try:
        list(draw(model, drawing, Seeded([0])))
        cached = overheard.take()
        model.loss([document])
        taught = next(hidden[-1] for hidden in overheard.hidden if hidden.shape[1] == target.layout.count)
    finally:
        model.picture.head = head
    order = model.picture.order.schedule(target.layout, 1, None, None).order[0]
    assert torch.allclose(cached[0], taught[order], atol=1e-4)


def test_a_document_that_asks_for_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing is to be predicted"):
        given_picture = documents.picture("prefix, raster", (4, 2), 1, False)
        documents.model("prefix, raster").loss([[Text("a pear"), given_picture]])


def test_a_picture_without_the_prompt_that_it_needs_is_refused():
    with pytest.raises(ValueError, match="put a text, or None, straight before it"):
        documents.model("stream of text").loss([[documents.picture("stream of text", (4, 2), 1, predict=True)]])


def test_a_transformer_that_shows_all_to_all_takes_prompts_and_pictures_only():
    model = tiny.way("masked vectors")
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 1)[0]
    with pytest.raises(ValueError, match="its documents are a prompt and a picture"):
        model.loss([[Picture(layout, tokens), Text(1), Picture(layout, tokens, predict=True)]])


@given(st.integers(1, 3), st.sampled_from([1.0, 2.0]))
@torch.no_grad()
def test_a_later_picture_listens_to_its_own_prompt_and_not_to_an_earlier_one(count, guidance):
    """Texts as contexts of cross-attention: each picture attends to its own."""
    model = tiny.way("bits by scale")
    layout = tiny.layout_of(model)
    tokens = tiny.tokens(model, 3)

    def loss(classes: list[int]) -> torch.Tensor:
        document = [part for row, k in enumerate(classes) for part in (Text(k), Picture(layout, tokens[row], True))]
        return model.loss([document])["picture"].masked()

    before, after = loss([0, 1, 2]), loss([0, 2, 2])
    assert torch.allclose(before[0], after[0], atol=1e-5)
    assert not torch.allclose(before[1], after[1], atol=1e-3)
    alone = tiny.picture_losses(model, [0], tokens[:1])
    assert torch.allclose(before[:1], alone, atol=1e-4)
