"""Decoders that work from a sketch, the tokenizer's own picture."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

import tiny
from kiloword.decoders.decoder import Decoder, Effort
from kiloword.decoders.diffusion_decoder import DiffusionDecoder, DiffusionDecoderConfig
from kiloword.noise import Seeded
from kiloword.tokens import Codes, Layout

LAYOUT = Layout(((4, 2),))
TOKENS = tiny.tokens_of(Codes(tiny.LEVELS), LAYOUT, 2, 0)
ALL = torch.ones(2, 8, dtype=torch.bool)


class Greys:
    """A tokenizer's network that paints each token's first code as a grey cell, and -1 where a token is not known."""

    space, stride = Codes(tiny.LEVELS), 2

    def __init__(self):
        self.asked: list[Tensor] = []

    def decode(self, tokens: Tensor, layout: Layout, known: Tensor) -> Tensor:
        self.asked.append(known)
        shade = torch.where(known, tokens[..., 0] / 2, -1.0)
        cells = shade.view(-1, 1, *layout.sizes[-1]).expand(-1, 4, -1, -1)
        return cells.repeat_interleave(2, 2).repeat_interleave(2, 3).float()


def sketching(greys: Greys | None = None, spread: tuple[float, ...] = ()) -> DiffusionDecoder:
    plain = tiny.decoder()
    config = DiffusionDecoderConfig(replace(plain.denoiser, sketch=True, spread=spread))
    torch.manual_seed(0)
    built = config.build().eval()
    if greys is not None:
        built.work_from(greys)
    return built


@torch.no_grad()
def painted(decoder: DiffusionDecoder, effort: Effort, tokens: Tensor = TOKENS, known: Tensor = ALL) -> Tensor:
    rows = torch.arange(len(tokens))
    *_, last = decoder.decode_steps(tokens, LAYOUT, known, effort, Seeded(range(len(tokens))), rows)
    return last.pixels


def test_the_sketch_is_looked_at_and_its_maker_is_no_part_of_the_decoder():
    assert isinstance(sketching(), Decoder)
    names = set(sketching(Greys()).state_dict())
    assert names == set(sketching().state_dict()) and "denoiser.sketch.weight" in names
    dark = Greys()
    dark.decode = lambda tokens, layout, known: torch.full((len(tokens), 4, 8, 4), -1.0)
    assert not torch.allclose(painted(sketching(Greys()), Effort(2)), painted(sketching(dark), Effort(2)), atol=1e-4)


def test_without_its_maker_it_says_so():
    with pytest.raises(ValueError, match="works from a sketch, the tokenizer's own picture, and got none"):
        painted(sketching(), Effort(1))


def test_a_decoder_that_wants_none_is_shown_none():
    greys, plain = Greys(), tiny.diffusion_decoder()
    plain.work_from(greys)
    painted(plain, Effort(2, guidance=2.0))
    assert plain.sketch(TOKENS, LAYOUT, ALL) is None and not greys.asked


def test_a_glance_is_the_sketch_enlarged():
    greys = Greys()
    seen = sketching(greys).preview(TOKENS, LAYOUT, ALL)
    assert seen.shape == (2, 4, 16, 8)
    assert torch.equal(seen, interpolate(greys.decode(TOKENS, LAYOUT, ALL), scale_factor=2, mode="bilinear"))
    assert seen[:, 0, ::15, ::7].flatten(1).equal(TOKENS[:, [0, 1, 6, 7], 0] / 2)  # the corners


def test_pure_noise_lies_around_the_sketch_as_wide_as_its_spread():
    decoder = sketching(Greys(), (0.5, 0.25))
    net, drawn = decoder.denoiser, decoder.preview(TOKENS, LAYOUT, ALL)
    (guide,) = decoder.guides(TOKENS, LAYOUT, ALL)
    noise = torch.randn(2, 32, net.patches.dim)
    apart = net.pure(noise, guide) - net.patches.split(drawn)
    wide = torch.where(net.patches.band == 0, 0.5, 0.25)
    assert torch.allclose(apart, noise * wide, atol=1e-6)
    assert torch.allclose(net.patches.join(net.pure(0 * noise, guide), 8), drawn, atol=1e-6)


def test_a_network_that_knows_nothing_leaves_the_sketch_and_pure_noise_does_not_enter():
    seen = []
    decoder = sketching(Greys(), (0.5, 0.25))
    torch.nn.init.zeros_(decoder.denoiser.leave.weight)
    decoder.denoiser.enter.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    drawn = decoder.preview(TOKENS, LAYOUT, ALL)
    for solver in ("euler", "heun", "ddim"):
        assert torch.allclose(painted(decoder, Effort(2, solver=solver)), drawn, atol=1e-5)
    noise = Seeded(range(2)).normal(seen[0].shape[1:], torch.arange(2))
    assert not seen[0].any() and torch.allclose(seen[1], noise / 2, atol=1e-5)  # at level 1, and at 1/2


@pytest.mark.parametrize("spread", [(1.0,), (1.0, 0.0), (1.0, 0.5, 0.1)])
def test_a_spread_is_that_of_every_band(spread):
    with pytest.raises(ValueError, match="above 0 in each of 2 bands"):
        sketching(spread=spread)


def test_values_of_unknown_tokens_do_not_matter_and_the_null_guide_knows_none():
    greys, known, told = Greys(), ALL.clone(), []
    known[:, 5:] = False
    other = torch.where(known[..., None], TOKENS, (TOKENS + 1) % 2)
    effort = Effort(2, guidance=2.0)
    assert torch.equal(
        painted(sketching(greys), effort, TOKENS, known), painted(sketching(greys), effort, other, known)
    )
    assert {int(asked.sum()) for asked in greys.asked} == {10}  # one sketch for both
    decoder = sketching(greys)
    decoder.denoiser.tokens.register_forward_pre_hook(lambda entrance, given: told.append(int(given[1].sum())))
    painted(decoder, effort, TOKENS, known)
    assert told == [10, 0]


def test_a_picture_does_not_depend_on_its_batch():
    decoder = sketching(Greys())
    both = painted(decoder, Effort(2, groups=2, overlap=1.0))
    assert torch.allclose(painted(decoder, Effort(2, groups=2, overlap=1.0), TOKENS[:1], ALL[:1]), both[:1], atol=1e-5)
