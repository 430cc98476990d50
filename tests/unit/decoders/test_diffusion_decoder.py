"""The diffusion decoder: sizes, glances, what is seen on the way, clean-up, and what it refuses."""

from dataclasses import replace

import pytest
import torch

import tiny
from kiloword.decoders.decoder import DecodeStep, Effort
from kiloword.decoders.diffusion_decoder import DiffusionDecoder
from kiloword.decoders.patches import GROUPINGS
from kiloword.noise import Seeded
from kiloword.tokens import Codes, Layout

LAYOUT = Layout(((4, 2),))
KNOWN = torch.ones(2, LAYOUT.count, dtype=torch.bool)
TOKENS = tiny.tokens_of(Codes(tiny.LEVELS), LAYOUT, 2)


@torch.no_grad()
def painted(decoder: DiffusionDecoder, effort: Effort, seeds=(0, 1), **given) -> list[DecodeStep]:
    rows = torch.arange(len(seeds))
    return list(decoder.decode_steps(TOKENS, LAYOUT, KNOWN, effort, Seeded(seeds), rows, **given))


def calls_of(decoder: DiffusionDecoder) -> list:
    """A list that grows by every call of the network."""
    calls = []
    decoder.denoiser.register_forward_hook(lambda net, given, made: calls.append(made))
    return calls


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("effort", [Effort(2), Effort(2, 4, 0.5), Effort(1, 8, 1, solver="ddim")])
def test_pictures_have_the_size_that_the_scale_says_at_every_step(scale, effort):
    decoder = tiny.diffusion_decoder(scale=scale)
    looks = painted(decoder, effort)
    assert {look.pixels.shape for look in looks} == {(2, 4, 8 * scale, 4 * scale)}
    assert [look.step for look in looks] == list(range(1, decoder.steps(LAYOUT, effort) + 1))
    assert {look.steps for look in looks} == {decoder.steps(LAYOUT, effort)}
    assert decoder.preview(TOKENS, LAYOUT, KNOWN).shape == looks[0].pixels.shape
    assert torch.isfinite(looks[-1].pixels).all()


def test_a_glance_is_one_call_without_any_chance():
    decoder = tiny.diffusion_decoder()
    calls = calls_of(decoder)
    assert torch.equal(decoder.preview(TOKENS, LAYOUT, KNOWN), decoder.preview(TOKENS, LAYOUT, KNOWN))
    assert len(calls) == 2


def test_seeds_decide():
    decoder = tiny.diffusion_decoder()
    first, again, other = (painted(decoder, Effort(3), seeds)[-1].pixels for seeds in ((0, 1), (0, 1), (0, 2)))
    assert torch.equal(first, again) and torch.equal(first[0], other[0]) and not torch.allclose(first[1], other[1])


@pytest.mark.parametrize("effort", [Effort(3), Effort(2, 8, 1), Effort(2, 4, 0.5, solver="heun")])
def test_pictures_may_be_looked_at_whenever_and_learned_from(effort):
    decoder, rows = tiny.diffusion_decoder(), torch.arange(2)
    later = painted(decoder, effort)
    for step, look in enumerate(decoder.decode_steps(TOKENS, LAYOUT, KNOWN, effort, Seeded((0, 1)), rows)):
        assert torch.equal(look.pixels, later[step].pixels)
        assert not look.pixels.is_inference()


def test_one_group_is_told_its_level_once_and_paints_the_same():
    decoder, told = tiny.diffusion_decoder(), []
    decoder.denoiser.register_forward_pre_hook(lambda net, given: told.append(given[1].shape[1]))
    once = painted(decoder, Effort(3))[-1].pixels
    begin = decoder._begin

    def each(*given):
        canvas = begin(*given)
        canvas.levels = canvas.levels.expand(-1, canvas.patches.shape[1], -1)
        return canvas

    object.__setattr__(decoder, "_begin", each)
    assert torch.allclose(painted(decoder, Effort(3))[-1].pixels, once, atol=1e-6)
    assert told == [1] * 3 + [decoder.denoiser.grid(LAYOUT)[0] * decoder.denoiser.grid(LAYOUT)[1]] * 3


def test_what_has_not_begun_shows_what_lies_under_it_and_no_noise():
    decoder, under = tiny.diffusion_decoder(), torch.full((2, 4, 16, 8), 0.25)
    looks = painted(decoder, Effort(2, 8, 1), under=under)
    for look in looks[:-1]:
        rows = 2 * -(-look.step // 2)  # of the 16, two for every group of 2 steps that has begun
        assert torch.allclose(look.pixels[:, :, rows:], torch.tensor(0.25), atol=1e-5)
        assert (look.pixels[:, :, :rows] - 0.25).abs().amax((1, 3)).min() > 1e-3
    assert torch.equal(looks[-1].pixels, painted(decoder, Effort(2, 8, 1))[-1].pixels)


def test_frequencies_that_have_not_begun_show_no_noise():
    decoder, under = tiny.diffusion_decoder(patch=4), torch.full((2, 4, 16, 8), 0.25)
    effort = Effort(2, 3, 1, grouping="frequency")
    for look in painted(decoder, effort, under=under)[:2]:
        patches = decoder.denoiser.patches
        fine = patches.split(look.pixels)[..., patches.band > 0]
        assert fine.abs().max() < 1e-5


@pytest.mark.parametrize("name", GROUPINGS)
def test_every_grouping_paints_all_of_the_picture_in_as_many_steps_as_it_says(name):
    decoder = tiny.diffusion_decoder(patch=2)
    effort = Effort(2, 2, 1, grouping=name)
    looks = painted(decoder, effort)
    assert len(looks) == decoder.steps(LAYOUT, effort) == 4
    plan = decoder.plan(LAYOUT, effort)
    assert plan.known(2).sum() * 2 == plan.known(4).sum() == plan.stop.numel()


@pytest.mark.parametrize("grouping, groups", [("rows", 4), ("frequency", 3)])
@pytest.mark.parametrize("interval, guided", [((1.0, 1.0), 1), ((0.3, 0.6), 1), ((0.2, 0.8), 3), ((0.05, 0.1), 0)])
def test_guidance_calls_only_where_something_at_work_is_within_its_interval(grouping, groups, interval, guided):
    decoder = tiny.diffusion_decoder(patch=4)
    effort = Effort(4, groups, 1, grouping, guidance=2.0, interval=interval)  # levels 1, 3/4, 1/2 and 1/4
    assert painted(decoder, effort)[-1].calls == groups * (4 + guided)


@pytest.mark.parametrize("effort", [Effort(1), Effort(4), Effort(2, 4, 0.5), Effort(3, solver="heun", guidance=2)])
def test_the_less_there_is_to_clean_up_the_nearer_the_picture_stays(effort):
    decoder, start = tiny.diffusion_decoder(), torch.rand(2, 4, 16, 8) * 2 - 1
    moved = [
        float((painted(decoder, replace(effort, level=level), start=start)[-1].pixels - start).abs().max())
        for level in (0.5, 0.05, 0.005, 0.0005)
    ]
    assert moved == sorted(moved, reverse=True) and moved[0] > 0.1 and moved[-1] < 0.02


def test_a_clean_up_in_groups_shows_the_picture_where_it_has_not_begun():
    decoder, start = tiny.diffusion_decoder(), torch.rand(2, 4, 16, 8) * 2 - 1
    first = painted(decoder, Effort(2, 2, 1, level=0.3), start=start)[0].pixels
    assert torch.allclose(first[:, :, 8:], start[:, :, 8:], atol=1e-5) and not torch.allclose(first, start, atol=1e-2)


def test_no_picture_is_begun_from_a_level_without_a_picture():
    with pytest.raises(ValueError, match=r"to start from level 0.3 takes a picture"):
        painted(tiny.diffusion_decoder(), Effort(level=0.3))


@pytest.mark.parametrize("shape", [(2, 4, 8, 4), (2, 4, 8, 16), (2, 4, 15, 8), (2, 3, 16, 8)])
def test_pictures_of_another_size_are_refused(shape):
    for given in ("start", "under"):
        with pytest.raises(ValueError, match=rf"have shape \[2, 4, 16, 8\] here, got \[{', '.join(map(str, shape))}\]"):
            painted(
                tiny.diffusion_decoder(), Effort(2, level=0.5 if given == "start" else 1), **{given: torch.zeros(shape)}
            )


def test_tokens_of_another_tokenizer_are_refused():
    decoder, noise, rows = tiny.diffusion_decoder(), Seeded([0, 1]), torch.arange(2)
    for tokens, said in (
        (torch.zeros(2, 8, dtype=torch.long), r"shape \[b, n, 2\], got \[2, 8\]"),
        (torch.full((2, 8, 2), 2), r"token 2 is outside Codes\(sizes=\(3, 2\)\)"),
        (torch.zeros(2, 8, 2), "are integers, got torch.float32"),
        (torch.zeros(2, 7, 2, dtype=torch.long), r"layout \(\(4, 2\),\) has 8 tokens, got 7"),
    ):
        known = torch.ones(tokens.shape[:2], dtype=torch.bool)
        with pytest.raises(ValueError, match=said):
            next(decoder.decode_steps(tokens, LAYOUT, known, Effort(), noise, rows))
        with pytest.raises(ValueError, match=said):
            decoder.preview(tokens, LAYOUT, known)


def test_groups_that_do_not_divide_and_groupings_that_are_not_there_are_refused_before_anything_is_drawn():
    decoder = tiny.diffusion_decoder(patch=4)
    with pytest.raises(ValueError, match="3 groups do not divide 8 units evenly: choose 1, 2, 4 or 8"):
        decoder.steps(LAYOUT, Effort(2, 3, 1))
    with pytest.raises(ValueError, match="2 groups do not divide 3 units evenly: choose 1 or 3"):
        decoder.steps(LAYOUT, Effort(2, 2, 1, "frequency"))
    with pytest.raises(ValueError, match="no grouping 'spiral': choose rows, rows-up, centre, frequency"):
        decoder.steps(LAYOUT, Effort(grouping="spiral"))


def test_the_level_below_which_little_changes_is_a_share():
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        tiny.decoder(least=1.0)
