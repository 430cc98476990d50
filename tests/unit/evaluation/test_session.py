"""Tests of evaluation/session.py: in batches as one by one, and as the painter itself would do."""

import pytest
import torch
from PIL import Image

import tiny
from kiloword.evaluation.image_set import fitted, to_bytes
from kiloword.evaluation.session import Session

PROMPTS = ["a red apple", "a blue house", "a green pear", "a red house", "a blue apple"]


@pytest.fixture(scope="module")
def opaque():
    images = [Image.new("RGBA", (tiny.COLUMNS, tiny.ROWS), (50 * n, 200 - 30 * n, 90, 255)) for n in range(5)]
    return images, torch.stack([fitted(image, (tiny.ROWS, tiny.COLUMNS)) for image in images])


def test_a_picture_is_the_same_in_any_batch(painter):
    progress_calls = []
    one, seconds = Session(painter, 2, lambda *call: progress_calls.append(call)).drawn(PROMPTS, [3, 4, 5, 6, 7])
    two, _ = Session(painter, 50).drawn(PROMPTS[::-1], [7, 6, 5, 4, 3])
    assert torch.equal(one, two.flip(0)) and one.shape == (5, 4, tiny.ROWS, tiny.COLUMNS) and seconds > 0
    assert progress_calls == [("pictures drawn", done, 5) for done in (2, 4, 5)]
    assert len(Session(painter).drawn([], [])[0]) == 0


def test_a_picture_is_the_painters(painter):
    drawn, _ = Session(painter).drawn([painter.phrase("house", "flat")], [11])
    image = painter.generate("house", style="flat", seed=11)[0]
    again = fitted(image, (tiny.ROWS, tiny.COLUMNS))
    assert int((drawn[0].int() - again.int()).abs().max()) <= 3  # rounding of straight alpha


def test_the_best_of_several_is_the_painters(painter):
    one, _ = Session(painter, 2, candidates=6).drawn(["a blue house", "a red apple"], [11, 12])
    two, _ = Session(painter, 50, candidates=6).drawn(["a blue house", "a red apple"], [11, 12])
    image = painter.generate("house", style="flat", seed=11, candidates=6)[0]
    assert torch.equal(one, two)
    assert int((one[0].int() - fitted(image, (tiny.ROWS, tiny.COLUMNS)).int()).abs().max()) <= 3
    first, _ = Session(painter).drawn(["a blue house", "a red apple"], [11, 12])
    assert not torch.equal(one, first)


def test_rebuilding_is_encoding_and_decoding(painter, opaque):
    _, pixels = opaque
    tokenizer, layout = painter.model.picture.tokenizer, Session(painter).layout
    target = tokenizer.encode(pixels.float() / 127.5 - 1, layout).target
    expected = to_bytes(tokenizer.decode(target, layout, torch.ones(target.shape[:2], dtype=torch.bool)))
    assert torch.equal(Session(painter, 2).rebuilt(pixels), expected)


def test_descriptions_are_the_painters(painter, opaque):
    images, pixels = opaque
    assert Session(painter, 2).described(pixels) == [painter.describe(image) for image in images]
