"""Asking a painter for groups: of tokens that it denoises; other models say that they know none."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

import tiny
from kiloword.cli.finish import DecoderOptions, ramps_of
from kiloword.engine.card import Card
from kiloword.engine.painter import Painter
from kiloword.engine.request import Edit, Request
from kiloword.parts import DenoiseConfig, ImageModelConfig, ModalityConfig
from kiloword.tokens import Ramps

SIZE = (tiny.ROWS, tiny.COLUMNS)


def painter(way: str = "denoised in groups") -> Painter:
    return Painter(tiny.way(way), Card("tiny", (SIZE,), prompts="class"))


@pytest.mark.parametrize("steps,count", [
    (None, 8), (5, 13), (Ramps(1), 3), (Ramps(8, 1.0, 2), 16), (Ramps(4, 0.5, 2), 5), (Ramps(2, 0.0, 7), 7),
])  # fmt: skip
def test_steps_are_those_of_a_group_and_previews_show_them_all(steps, count):
    one, request = painter(), Request(1, seed=3, steps=steps)
    previews = list(one.run(one.resolve(request, None)))
    assert [p.step for p in previews] == list(range(1, count + 1)) and previews[-1].known.all()
    again = list(one.run(one.resolve(request, 0)))
    assert np.array_equal(np.asarray(again[-1].image), np.asarray(previews[-1].image))


def test_guidance_needs_no_more_steps_and_groups_change_the_picture():
    drawn = [
        np.asarray(painter().generate(1, seed=3, guidance=2.0, steps=Ramps(groups))[0]).astype(int)
        for groups in (1, 4, 8)
    ]
    assert all(np.abs(a - b).max() > 0 for a, b in pairwise(drawn))


def test_a_part_of_a_picture_is_denoised_anew():
    source = Image.fromarray(np.full((*SIZE, 4), 255, dtype=np.uint8))
    mask = np.full((*SIZE, 4), 255, dtype=np.uint8)
    mask[4:, :, 3] = 0
    one, request = painter(), Request(1, seed=3, edit=Edit(source, Image.fromarray(mask)), steps=Ramps(2))
    previews = list(one.run(one.resolve(request, None)))
    assert previews[0].known.tolist() == [True] * 4 + [False] * 4
    drawn = np.asarray(previews[-1].image)
    assert (drawn[:4] == 255).all() and not (drawn[4:] == 255).all()


@pytest.mark.parametrize("steps,reason", [
    (Ramps(3), "3 groups do not divide 8 units evenly: choose 1, 2, 4 or 8"),
    (Ramps(2, 1.25), "got 1.25"),
    (Ramps(2, 1.0, 0), "steps must be 1 or more, got 0"),
    (0, "steps must be 1 or more, got 0"),
])  # fmt: skip
def test_what_cannot_be_is_refused_with_the_numbers(steps, reason):
    with pytest.raises(ValueError, match=reason):
        painter().generate(1, steps=steps)


def test_models_that_draw_tokens_at_once_know_no_groups():
    with pytest.raises(ValueError, match="2 groups: this order makes each token known at once"):
        painter("vectors in raster").generate(1, steps=Ramps(2))


def test_options_for_groups_are_for_the_tokens_where_these_are_denoised():
    def config(order) -> ImageModelConfig:
        tokenizer, _, head, _, transformer = tiny.WAYS["denoised"]
        return ImageModelConfig(ModalityConfig(tokenizer, order, head), tiny.LABEL, transformer)

    denoises = config(DenoiseConfig(groups=2, overlap=0.5))
    assert ramps_of(DecoderOptions(groups=4), 9, denoises) == (DecoderOptions(), Ramps(4, 0.5, 9))
    assert ramps_of(DecoderOptions(overlap=1.0, solver="heun"), None, denoises) == (
        DecoderOptions(solver="heun"),
        Ramps(2, 1.0),
    )
    assert ramps_of(DecoderOptions(), 9, denoises) == (DecoderOptions(), 9)
    raster = config(tiny.ORDERS["rows"])
    assert ramps_of(DecoderOptions(groups=4), 9, raster) == (DecoderOptions(groups=4), 9)
