"""The law of decoders: efforts that can be made, and a tokenizer's own network as a decoder."""

from dataclasses import replace

import pytest
import torch

import tiny
from kiloword.decoders.decoder import Decoder, Decoding, Effort, Own
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.tokens import Codes

ROWS = torch.arange(2)


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("steps", 0, "1 or more, got 0"),
        ("groups", 0, "1 or more, got 0"),
        ("overlap", 1.5, r"from 0 \(all groups at once\) to 1 \(one by one\), got 1.5"),
        ("overlap", -0.25, "got -0.25"),
        ("overlap", float("nan"), "got nan"),
        ("solver", "rk4", "euler, heun, ddim, got 'rk4'"),
        ("guidance", float("inf"), r"finite number \(1 is off\), got inf"),
        ("interval", (0.5, 0.2), "within 0 and 1, got 0.5 to 0.2"),
        ("interval", (0.5, 1.2), "within 0 and 1, got 0.5 to 1.2"),
        ("level", 0.0, "above 0 and at most 1, got 0"),
        ("level", 1.1, "above 0 and at most 1, got 1.1"),
    ],
)
def test_efforts_that_nobody_can_make_are_refused_with_the_number_and_what_is_legal(field, value, said):
    with pytest.raises(ValueError, match=said):
        Effort(**{field: value})


def test_both_decoders_keep_the_law(tiny_model):
    assert isinstance(Own(tiny_model.picture.tokenizer), Decoder) and isinstance(tiny.diffusion_decoder(), Decoder)
    assert isinstance(tiny_model.picture.tokenizer, Decoding)


def test_a_tokenizer_paints_in_one_call_whatever_the_effort(tiny_model):
    own, layout = tiny_model.pixel_decoder, tiny.layout_of(tiny_model)
    tokens, known = tiny.tokens(tiny_model, 2), torch.ones(2, layout.count, dtype=torch.bool)
    known[1, 3:] = False
    wanted = tiny_model.picture.tokenizer.decode(tokens, layout, known)
    (painted,) = own.decode_steps(tokens, layout, known, Effort(9, 3), Seeded([0, 1]), ROWS)
    assert torch.equal(painted.pixels, wanted) and torch.equal(own.preview(tokens, layout, known), wanted)
    assert (painted.step, painted.steps, painted.calls, own.scale) == (1, 1, 1, 1)
    assert own.steps(layout, Effort(9, 3)) == 0
    with pytest.raises(ValueError, match="takes a diffusion decoder"):
        next(own.decode_steps(tokens, layout, known, Effort(level=0.5), Seeded([0, 1]), ROWS, start=wanted))


def test_a_model_refuses_a_decoder_of_other_tokens(tiny_model):
    def fitted(**changes) -> ImageModel:
        decoder = tiny.decoder(**changes).build()
        return ImageModel(tiny_model.picture, tiny_model.prompt, tiny_model.transformer, tiny_model.text, decoder)

    assert fitted().pixel_decoder.scale == 2
    with pytest.raises(ValueError, match=r"tokenizer gives Codes\(sizes=\(3, 2\)\) and the decoder takes Codes"):
        fitted(space=Codes((3, 3)))
    config = tiny.decoder()
    wide = replace(config, denoiser=replace(config.denoiser, stride=4))
    with pytest.raises(ValueError, match="tokens cover 2 pixels a side, the decoder's 4"):
        ImageModel(tiny_model.picture, tiny_model.prompt, tiny_model.transformer, None, wide.build())
