"""Tests of likelihood.py, reconstruction.py, memorisation.py and sheet.py on what can be known beforehand."""

import math

import pytest
import torch

import tiny
from kiloword.embedding import Loss
from kiloword.evaluation.image_set import ImageSet
from kiloword.evaluation.likelihood import likelihood, picture_bits, text_bits
from kiloword.evaluation.memorisation import TrainingSet, memorisation, quantiles
from kiloword.evaluation.reconstruction import reconstruction
from kiloword.evaluation.session import Session
from kiloword.evaluation.sheet import comparison
from kiloword.evaluation.subject import Gallery
from kiloword.pixels import from_bytes, psnr
from kiloword.tokens import Text


@pytest.fixture
def session(painter):
    return Session(painter, batch=4)


@pytest.fixture(scope="module")
def pixels():
    values = torch.randint(0, 256, (6, 4, tiny.ROWS, tiny.COLUMNS), generator=torch.Generator().manual_seed(0))
    values[:, 3] = 255
    return values.to(torch.uint8)


def test_bits_do_not_depend_on_the_batch(painter, pixels):
    prompts = ["a red apple", None, "a blue house", "a pear", "a green pear on a blue house", None]
    one, two = (picture_bits(Session(painter, batch), pixels, prompts) for batch in (1, 6))
    assert one.shape == (6,) and torch.allclose(one, two, rtol=1e-4) and bool((one > 0).all())
    texts = [prompt or "a" for prompt in prompts]
    one, two = (text_bits(Session(painter, batch), pixels, texts) for batch in (1, 6))
    assert torch.allclose(one, two, rtol=1e-4)


def test_a_model_that_knows_nothing_needs_all_bits(painter, session, pixels, monkeypatch):
    space = painter.model.picture.tokenizer.space

    def even(documents):
        count, tokens = len(documents), session.layout.count
        assert all(text == Text(None) and picture.predict for text, picture in documents)
        values, mask = torch.full((count, tokens), space.bits * math.log(2)), torch.ones(count, tokens).bool()
        return {"picture": Loss(values, mask, torch.arange(count), torch.ones(count).long())}

    monkeypatch.setattr(painter.model, "loss", even)
    assert torch.allclose(picture_bits(session, pixels, [None] * 6), torch.tensor(session.layout.count * space.bits))


def test_likelihood_of_each_split(painter, session, pixels):
    prompts = ["a red apple"] * 6
    figures = likelihood(
        session, {"train": pixels, "held_out_pair": pixels[:0]}, {"train": prompts, "held_out_pair": []}
    )
    assert figures["train"] > 0 and figures["held_out_pair"] is None
    assert figures["without_prompt"]["train"] > 0 and figures["description"]["train"] > 0


def test_reconstruction_in_all_groups_and_in_half(painter, session, pixels):
    figures = reconstruction(session, pixels)
    rebuilt = session.rebuilt(pixels)
    assert figures["psnr"] == pytest.approx(float(psnr(from_bytes(rebuilt), from_bytes(pixels)).mean()), abs=0.05)
    bits = 8 * 2 * math.log2(6)  # a 4x2 grid, two groups of six values
    assert figures["bits"] == pytest.approx(bits) and figures["bits_with_drafts"] == pytest.approx(bits * 10 / 8)
    assert math.isfinite(figures[f"psnr_{round(bits / 2)}_bits"]) and figures["n"] == 6
    assert reconstruction(session, pixels[:0]) == {"n": 0}


@pytest.fixture(scope="module")
def small(image_set):
    """The image set at the size of the tiny painter."""
    return ImageSet(image_set.metadata, image_set.pixels[:, :, ::2, ::4].contiguous())


def test_copies_of_training_pictures_are_found(session, small):
    training = TrainingSet(Gallery(small))
    trained = small.choose("train", ["3d", "flat", "noto"], 99, 0)
    figures = memorisation(session, training, trained, small.pixels[trained])
    assert figures["distance"]["p95"] < 1e-6 and figures["psnr"]["p05"] == 100
    assert figures["closer_than_reconstruction"] == figures["psnr_above_reconstruction"] == 1
    assert figures["nearest"] == {"asked_picture": 1, "asked_subject_otherwise": 0, "another_subject": 0}


def test_pictures_unlike_any_training_picture_are_not_copies(session, small):
    training = TrainingSet(Gallery(small))
    held_out = small.choose("held_out", ["3d", "flat", "noto"], 99, 0)
    noise = torch.randint(0, 256, (len(held_out), 4, tiny.ROWS, tiny.COLUMNS), dtype=torch.uint8)
    figures = memorisation(session, training, held_out, torch.full_like(noise, 255))
    assert figures["distance"]["p05"] > 0.1 and figures["nearest"]["asked_picture"] == 0
    assert figures["true_picture_distance"]["p50"] > 0 and figures["n"] == len(held_out)
    assert sum(figures["nearest"].values()) == pytest.approx(1)
    assert memorisation(session, training, [], noise[:0]) == {"n": 0}


def test_quantiles():
    assert quantiles(torch.arange(101).float()) == pytest.approx({"p05": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95})


def test_the_sheet_shows_three_pictures_a_prompt(tmp_path):
    black = torch.zeros(7, 4, 8, 4, dtype=torch.uint8)
    black[:, 3] = 255
    image = comparison(black, torch.zeros_like(black), black, tmp_path / "sheet.png", prompts_a_row=3)
    assert image.size == (2 + 9 * (4 + 2), 2 + 3 * (8 + 2)) and (tmp_path / "sheet.png").exists()
    assert image.getpixel((3, 3)) == (0, 0, 0) and image.getpixel((9, 3)) == (255, 255, 255)
