"""The fast way draws what the slow, clear way draws, token for token: cached, uncached and teacher-forced are one."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.document import to_draw
from kiloword.engine import drive
from kiloword.engine.drive import draw
from kiloword.heads.head import Sampling
from kiloword.noise import Seeded

CASES = st.sampled_from(tiny.LEGAL)
PROMPTS = st.lists(st.sampled_from([*tiny.TEXTS, "", None]), min_size=1, max_size=3)
SAMPLINGS = st.sampled_from([Sampling(), Sampling(0.7, top_p=0.9), Sampling(1.2, top_k=2)])


def some_given(data, model, count: int) -> dict:
    """Random given tokens of each picture, or none."""
    n = tiny.layout_of(model).count
    mask = data.draw(st.lists(st.booleans(), min_size=count * n, max_size=count * n))
    return {"tokens": tiny.tokens(model, count, seed=5), "given": torch.tensor(mask).view(count, n)}


@given(CASES, PROMPTS, st.data())
@torch.no_grad()
def test_cached_uncached_and_teacher_forced_see_the_same(case, prompts, data):
    model = tiny.model(*case)
    model.picture.head = head = tiny.RecordingHead(model.picture.head)
    drawing = tiny.drawing(model, prompts, **some_given(data, model, len(prompts)))
    seeds = range(len(prompts))
    slow = [progress.tokens for progress in model.draw(drawing, Seeded(seeds))]
    uncached = head.take()
    fast = [progress.tokens for progress in draw(model, drawing, Seeded(seeds))]
    cached = head.take()
    assert all(torch.equal(a, b) for a, b in zip(slow, fast, strict=True))
    tiny.picture_losses(model, prompts, slow[-1])
    forced = head.take()
    step = model.picture.order.schedule(drawing.layout, 1, None, None).start[0].argsort()
    assert torch.allclose(cached, uncached, atol=1e-4)
    assert torch.allclose(cached, forced[:, step], atol=1e-4)


@given(CASES, PROMPTS, SAMPLINGS, st.sampled_from([0.0, 1.0, 1.5, 4.0]), st.data())
@torch.no_grad()
def test_every_step_is_the_same_with_guidance_and_given_tokens(case, prompts, sampling, guidance, data):
    model = tiny.model(*case)
    given_tokens = some_given(data, model, len(prompts)) if data.draw(st.booleans()) else {}
    drawing = tiny.drawing(model, prompts, guidance, sampling=sampling, **given_tokens)
    seeds = range(7, 7 + len(prompts))
    slow, fast = list(model.draw(drawing, Seeded(seeds))), list(draw(model, drawing, Seeded(seeds)))
    assert len(slow) == len(fast)
    for a, b in zip(slow, fast, strict=True):
        assert torch.equal(a.tokens, b.tokens) and torch.equal(a.known, b.known)
        assert (a.step, a.steps) == (b.step, b.steps)
    if given_tokens:
        kept = given_tokens["given"]
        assert torch.equal(fast[-1].tokens[kept], given_tokens["tokens"][kept])


@given(CASES, PROMPTS, st.sampled_from([1.0, 3.0]), st.data())
@torch.no_grad()
def test_a_picture_does_not_depend_on_its_batch(case, prompts, guidance, data):
    model = tiny.model(*case)
    given_tokens = some_given(data, model, len(prompts))
    drawing = tiny.drawing(model, prompts, guidance, **given_tokens)
    together = list(draw(model, drawing, Seeded(range(len(prompts)))))[-1].tokens
    for row, prompt in enumerate(prompts):
        one = {name: value[row : row + 1] for name, value in given_tokens.items()}
        alone = tiny.drawing(model, [prompt], guidance, **one)
        assert torch.equal(list(draw(model, alone, Seeded([row])))[-1].tokens[0], together[row])


@given(CASES)
@torch.no_grad()
def test_classes_are_drawn_alike_too(case):
    model = tiny.model(*case, prompt="class")
    drawing = tiny.drawing(model, [2, None, 0], guidance=2.0)
    slow, fast = list(model.draw(drawing, Seeded([1, 2, 3]))), list(draw(model, drawing, Seeded([1, 2, 3])))
    assert torch.equal(slow[-1].tokens, fast[-1].tokens)


@torch.no_grad()
def test_a_second_prompt_may_take_the_place_of_nothing(tiny_model):
    """A negative prompt is a view like any other, longer or shorter than the first."""
    drawing = tiny.drawing(tiny_model, ["a pear", "a red apple"], guidance=2.0)
    negative = tiny_model.opening(to_draw(["a green pear on a blue house", "apple"], drawing.layout))
    drawing = replace(drawing, views=[drawing.views[0], negative])
    slow, fast = list(tiny_model.draw(drawing, Seeded([1, 2]))), list(draw(tiny_model, drawing, Seeded([1, 2])))
    assert torch.equal(slow[-1].tokens, fast[-1].tokens)


@torch.no_grad()
def test_a_seed_decides_the_picture(tiny_model):
    drawing = tiny.drawing(tiny_model, ["a red apple"] * 3)
    tokens = list(draw(tiny_model, drawing, Seeded([4, 5, 4])))[-1].tokens
    assert torch.equal(tokens[0], tokens[2]) and not torch.equal(tokens[0], tokens[1])


@torch.no_grad()
def test_a_whole_given_picture_is_left_as_it_is(tiny_model):
    tokens = tiny.tokens(tiny_model, 1)
    everything = torch.ones(tokens.shape[:2], dtype=torch.bool)
    steps = list(draw(tiny_model, tiny.drawing(tiny_model, ["a pear"], tokens=tokens, given=everything), Seeded([0])))
    assert all(torch.equal(progress.tokens, tokens) and progress.known.all() for progress in steps)


@pytest.fixture
def passes(tiny_model, monkeypatch) -> list[int]:
    """The number of positions in every pass through the transformer."""
    positions = []

    class Noting:
        """The same transformer, which notes what it is sent."""

        def __init__(self, transformer):
            self.transformer, self.cache, self.causal = transformer, transformer.cache, transformer.causal
            self.cross_attends, self.modulated = transformer.cross_attends, transformer.modulated
            self.width = transformer.width

        def __call__(self, stream, cache=None):
            positions.append(stream.vectors.shape[1])
            return self.transformer(stream, cache)

    monkeypatch.setattr(drive, "fused", Noting)
    return positions


@torch.no_grad()
def test_who_stops_listening_stops_the_work(tiny_model, passes):
    drawing = draw(tiny_model, tiny.drawing(tiny_model, ["a red apple"]), Seeded([0]))
    assert passes == []
    next(drawing), next(drawing)
    drawing.close()
    assert len(passes) == 3  # the prompt and two tokens


@torch.no_grad()
def test_each_position_goes_through_the_transformer_once(tiny_model, passes):
    drawing = tiny.drawing(tiny_model, ["a red apple"])
    list(draw(tiny_model, drawing, Seeded([0])))
    assert passes == [drawing.views[0].stream.vectors.shape[1], *[1] * drawing.layout.count]
