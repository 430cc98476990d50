"""Requests become jobs before anything is drawn: what is wrong is said at once, and nothing of a model is needed but
the settings of its parts."""

import pytest
import torch
from PIL import Image

import tiny
from kiloword import parts
from kiloword.engine.card import Card
from kiloword.engine.painter import Painter
from kiloword.engine.request import MOST, Request, edited, nearest, resolve, seeded
from kiloword.heads.head import Sampling
from kiloword.tokens import Ramps

SIZE = (tiny.ROWS, tiny.COLUMNS)
CARD = Card("it", (SIZE,), {"red": "a red {}", "blue": "a blue {}"}, guidance=2.0, temperature=0.5)


def config() -> parts.ImageModelConfig:
    words = parts.CategoricalConfig(parts.Categorical(tiny.words().build().space.size), tiny.WIDTH)
    picture = parts.ModalityConfig(tiny.autoencoder(), parts.RasterConfig(), tiny.HEADS["factorised"])
    prompt, text = parts.TextPrefixConfig(tiny.words(), tiny.WIDTH, limit=8), parts.TextConfig(tiny.words(), words)
    return parts.ImageModelConfig(picture, prompt, tiny.stack(), text)


@pytest.fixture(scope="module")
def weightless():
    with torch.device("meta"):
        return config().build()


def test_a_job_is_decided_without_any_weight(weightless):
    job = resolve(Request("apple", n=2, seed=7, style="red"), CARD, weightless, partials=3)
    assert (job.prompt, job.away, job.wordings, job.seeds) == ("a red apple", None, ("a red apple",), (7, 8))
    assert job.size == SIZE and job.layout.sizes == ((4, 2),) and job.partials == 3 and job.candidates == 1
    assert job.sampling == Sampling(0.5) and job.guided and job.n == 2
    assert job.weights.shape == (8, 2, 2) and job.weights[0, :, 0].tolist() == [2, -1]
    assert not resolve(Request("apple", seed=0, guidance=1.0), CARD, weightless).guided
    assert resolve(Request("apple", seed=0, negative="pear"), CARD, weightless).away == "pear"
    assert resolve(Request("apple", seed=0), CARD, weightless).wordings == ("apple", "a red apple", "a blue apple")


@pytest.mark.parametrize("wrong,reason", [
    ({"prompt": ""}, "the prompt is empty"), ({"prompt": "apple " * 9}, "the limit is 8"),
    ({"prompt": 3}, "is asked in words"), ({"n": 0}, f"from 1 to {MOST}, got 0"), ({"n": 65}, "got 65"),
    ({"seed": -1}, "a seed is a whole number"), ({"seed": 2**63 - 1}, "a seed is a whole number"),
    ({"seed": None}, "a job is drawn from a seed"),
    ({"style": "reed"}, r"no style 'reed': did you mean 'red'\?|no style 'reed'"),
    ({"size": (9, 9)}, "cannot draw 9x9 pixels; it draws 4x8"),
    ({"steps": 5}, "draws this in 8 steps"), ({"steps": 0}, "steps must be 1 or more"),
    ({"steps": Ramps(2)}, "2 groups: this order makes each token known at once"),
    ({"guidance": float("nan")}, "guidance must be a finite number"),
    ({"candidates": 65}, "from 1 to 64 for each of 1"),
    ({"negative": "apple " * 9}, "the limit is 8"),
])  # fmt: skip
def test_whatever_is_wrong_is_said_by_resolve(weightless, wrong, reason):
    with pytest.raises(ValueError, match=reason):
        resolve(Request(**{"prompt": "apple", "seed": 0, **wrong}), CARD, weightless)
    with pytest.raises(ValueError, match="partials must be 0 or more, got -1"):
        resolve(Request("apple", seed=0), CARD, weightless, partials=-1)


def test_a_stream_raises_at_the_call_and_not_at_its_first_picture():
    painter = Painter(config().build().eval(), CARD)
    for wrong in ({"prompt": ""}, {"prompt": "apple", "style": "oil"}, {"prompt": "apple " * 9}):
        with pytest.raises(ValueError):
            painter.stream(**wrong)
    with pytest.raises(ValueError, match="an edit needs both a picture and a mask"):
        painter.stream("apple", picture=Image.new("RGBA", SIZE))


def test_a_request_keeps_its_own_seed():
    assert seeded(Request("a"), 5).seed == 5 and seeded(Request("a", seed=0), 5).seed == 0


def test_settings_are_left_as_they_are():
    settings = {"picture": Image.new("RGBA", SIZE), "mask": Image.new("RGBA", SIZE), "n": 2}
    assert set(edited(settings)) == {"edit", "n"} and set(settings) == {"picture", "mask", "n"}


def test_the_nearest_size_is_that_of_the_nearest_shape():
    sizes = ((64, 64), (128, 128), (64, 128), (128, 64))
    assert [nearest(size, sizes) for size in ((60, 60), (100, 500), (300, 299))] == [(64, 64), (64, 128), (128, 128)]
