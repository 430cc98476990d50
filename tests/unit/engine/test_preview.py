"""Previews: looks spread evenly, that change nothing, with a tokenizer's own decoder and with a diffusion decoder."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

import tiny
from kiloword.decoders.decoder import Effort
from kiloword.engine.card import Card
from kiloword.engine.painter import Painter
from kiloword.engine.preview import noise_of, shown_steps
from kiloword.model import ImageModel
from kiloword.pixels import from_image

CARDS = {"own": (tiny.ROWS, tiny.COLUMNS), "diffusion": (2 * tiny.ROWS, 2 * tiny.COLUMNS)}
EFFORTS = [None, Effort(1), Effort(3, 4, 0.5), Effort(2, 2, 1, "frequency", "ddim", guidance=2.0)]


def painter(kind: str) -> Painter:
    """A tiny model that paints with its tokenizer's network or by diffusion, at twice the size."""
    model = tiny.model("pyramid", "draft", "factorised")
    if kind == "diffusion":
        model.decoder = tiny.diffusion_decoder()
    return Painter(model, Card("it", (CARDS[kind],)))


def looks(kind: str, partials: int | None, **settings) -> list:
    return list(painter(kind).stream("a pear", partials=partials, seed=3, **settings))


def test_partials_are_spread_evenly_and_the_last_step_is_always_shown():
    assert shown_steps(12, 5) == {2, 4, 6, 8, 10, 12} and shown_steps(24, 5) == {4, 8, 12, 16, 20, 24}
    assert shown_steps(7, 0) == {7} and shown_steps(7, None) == set(range(1, 8)) == shown_steps(7, 9)
    for steps in range(1, 60):
        for partials in range(steps):
            shown = sorted(shown_steps(steps, partials))
            assert len(shown) == partials + 1 and shown[-1] == steps
            assert all(abs(step - steps * k / (partials + 1)) < 1 for k, step in enumerate(shown, 1))


@pytest.mark.parametrize("effort", EFFORTS)
def test_streaming_changes_nothing_and_counts_the_steps_of_painting(effort):
    alone = looks("diffusion", 0, effort=effort)
    assert len(alone) == 1 and alone[0].final and alone[0].image.size == (8, 16)
    steps = alone[0].steps
    tokens = 10  # of the draft and of the picture
    one = painter("diffusion")
    assert steps == tokens + one.model.pixel_decoder.steps(tiny.layout_of(one.model), effort or Effort())
    for partials in (1, 5, None):
        shown = looks("diffusion", partials, effort=effort)
        assert [look.step for look in shown] == sorted(shown_steps(steps, partials))
        assert {look.image.size for look in shown} == {(8, 16)} and {look.image.mode for look in shown} == {"RGBA"}
        assert shown[-1].final and shown[-1].image.tobytes() == alone[0].image.tobytes()
        assert not any(look.final for look in shown[:-1])


def test_the_tokenizer_s_own_decoder_shows_as_many_steps_as_there_are_tokens():
    alone, shown = looks("own", 0), looks("own", None)
    assert [look.step for look in shown] == list(range(1, 11)) and alone[0].steps == 10
    assert shown[-1].image.tobytes() == alone[0].image.tobytes() and alone[0].image.size == (4, 8)


def test_looks_become_known_from_the_first_to_the_last_token_and_stay_so():
    known = torch.stack([look.known for look in looks("diffusion", None, effort=Effort(3))])
    assert known.sum(1).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10]


def test_a_glance_costs_one_call_and_painting_none_more_for_being_watched():
    counts = {}
    for partials in (0, 5):
        one, calls = painter("diffusion"), []
        assert isinstance(one.model.decoder, torch.nn.Module)
        one.model.decoder.denoiser.register_forward_hook(lambda *_, calls=calls: calls.append(1))  # type: ignore
        list(one.stream("a pear", partials=partials, seed=3, effort=Effort(4, 4, 1)))
        counts[partials] = len(calls)
    assert counts[0] == 16 and counts[5] == 16 + 2 + 1  # of 26 steps two among the tokens, and one lies underneath


def test_every_picture_of_a_request_is_the_one_that_its_seed_draws_alone():
    together = [look for look in looks("diffusion", 0, n=3, effort=Effort(3, 4, 0.5))]
    assert [look.seed for look in together] == [3, 4, 5]
    for look in together:
        alone = painter("diffusion").generate("a pear", seed=look.seed, effort=Effort(3, 4, 0.5))[0]
        assert (from_image(alone) - from_image(look.image)).abs().max() <= 1.01 * 2 / 255
    numbers = [noise_of([seed]).normal((4,), torch.arange(1)) for seed in (3, 4, 3)]
    assert torch.equal(numbers[0], numbers[2]) and not torch.allclose(numbers[0], numbers[1])


def test_the_best_of_several_is_painted_with_the_seed_that_draws_it_again():
    best = looks("diffusion", 2, candidates=3, effort=Effort(2))
    again = painter("diffusion").generate("a pear", seed=best[-1].seed, effort=Effort(2))[0]
    assert (from_image(again) - from_image(best[-1].image)).abs().max() <= 1.01 * 2 / 255


@pytest.mark.parametrize("kind", CARDS)
def test_an_edit_keeps_every_pixel_that_is_not_to_be_drawn_anew(kind):
    height, width = CARDS[kind]
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(256, (height, width, 4), generator=generator, dtype=torch.uint8)
    values[..., 3] = 255
    picture = Image.fromarray(values.numpy())
    mask = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (1, 3, width // 2, height - 3))
    clear = torch.zeros(height, width, dtype=torch.bool)
    clear[3 : height - 3, 1 : width // 2] = True
    for partials in (0, 4):
        for look in looks(kind, partials, picture=picture, mask=mask):
            drawn = from_image(look.image)
            assert look.image.size == picture.size
            assert torch.equal(drawn[:, ~clear], from_image(picture)[:, ~clear])
            assert not torch.equal(drawn[:, clear], from_image(picture)[:, clear])


def test_efforts_that_cannot_be_made_are_refused():
    for effort, said in (
        (Effort(2, 3, 1), "3 groups do not divide 32 units evenly: choose 1, 2, 4, 8, 16 or 32"),
        (Effort(2, grouping="spiral"), "no grouping 'spiral'"),
        (Effort(2, level=0.5), "decoded from level 1, all noise: 0.5 is for cleaning up"),
    ):
        with pytest.raises(ValueError, match=said):
            looks("diffusion", 0, effort=effort)
    with pytest.raises(ValueError, match="cannot draw 8x8 pixels; it draws 8x16"):
        looks("diffusion", 0, size=(8, 8))


def test_a_model_without_a_decoder_of_its_own_ends_with_its_tokenizer(tiny_model):
    assert tiny_model.decoder is None and tiny_model.pixel_decoder.tokenizer is tiny_model.picture.tokenizer
    model = ImageModel(
        tiny_model.picture, tiny_model.prompt, tiny_model.transformer, tiny_model.text, tiny.diffusion_decoder()
    )
    assert model.pixel_decoder is model.decoder and any(name.startswith("decoder.") for name in model.state_dict())


def test_a_smaller_card_is_read_as_what_the_tokenizer_takes():
    one = painter("diffusion")
    assert one.read_size((16, 8)) == (8, 4) and painter("own").read_size((8, 4)) == (8, 4)
    assert replace(one.card, name="other").sizes == ((16, 8),)
