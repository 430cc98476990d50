"""The laws of painting by diffusion: one family from plain flow matching to one patch after the other.

The plain way is written down here once more, with the formula of its network calls, and compared step for step.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import tiny
from kiloword.decoders.decoder import SOLVERS, DecodeStep, Effort
from kiloword.decoders.denoiser import places
from kiloword.decoders.diffusion_decoder import DiffusionDecoder
from kiloword.noise import Recorded, Seeded
from kiloword.tokens import Bits, Categorical, Codes, Layout, Vector

LAYOUT = Layout(((4, 2),))  # 4 x 2 patches of 4 pixels, in 3 bands
PATCHES, ALL = 8, torch.ones(2, 8, dtype=torch.bool)
SPACES = {"ids": Categorical(5), "codes": Codes(tiny.LEVELS), "bits": Bits(3), "vectors": Vector(3)}
CHOICES = {
    "steps": st.integers(1, 5), "overlap": st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
    "solver": st.sampled_from(SOLVERS), "guidance": st.sampled_from([1.0, 2.5]),
    "interval": st.sampled_from([(0.0, 1.0), (0.2, 0.7)]),
}  # fmt: skip
FREE = st.builds(Effort, groups=st.sampled_from([1, 2, 4, 8]), **CHOICES)
EFFORTS = FREE | st.builds(Effort, groups=st.sampled_from([1, 3]), grouping=st.just("frequency"), **CHOICES)


def decoder(**changes) -> DiffusionDecoder:
    return tiny.diffusion_decoder(**{"patch": 4, **changes})


def tokens(count: int = 2, seed: int = 0) -> Tensor:
    return tiny.tokens_of(Codes(tiny.LEVELS), LAYOUT, count, seed)


def heard(painter: DiffusionDecoder) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Everything that the network is asked from now on: noised patches, their levels, and where the step leads."""
    questions = []
    painter.denoiser.register_forward_hook(lambda net, given, made: questions.append(given[:3]))
    return questions


@torch.no_grad()
def painted(painter: DiffusionDecoder, effort: Effort, noise=None, shown=None, known=ALL) -> list[DecodeStep]:
    shown, rows = tokens() if shown is None else shown, torch.arange(len(known))
    return list(painter.decode_steps(shown, LAYOUT, known, effort, noise or Seeded(range(len(known))), rows))


@torch.no_grad()
def plain(painter: DiffusionDecoder, effort: Effort) -> Tensor:
    """Flow matching of all patches at one level, as the papers write it."""
    net, (h, w) = painter.denoiser, painter.denoiser.grid(LAYOUT)
    place = places(h, w).expand(2, -1, -1)
    guides = [net.guide(tokens(), LAYOUT, known) for known in (ALL, ~ALL)]
    x = Seeded([0, 1]).normal((h * w, net.patches.dim), torch.arange(2))

    def velocity(x: Tensor, level: float, to: float) -> Tensor:
        a, b = (torch.full((2, h * w, net.patches.bands), float(value)) for value in (level, to))
        clean = painter.heads_for(x, a, b, guides[0], place)
        if effort.guidance != 1 and effort.interval[0] <= torch.tensor(level) <= effort.interval[1]:
            null = painter.heads_for(x, a, b, guides[1], place)
            clean = null + effort.guidance * (clean - null)
        if effort.solver == "ddim":
            clean = net.patches.split(net.patches.join(clean, h).clamp(-1, 1))
        return (x - clean) / level

    for step in range(effort.steps):
        level, to = 1 - step / effort.steps, 1 - (step + 1) / effort.steps
        v = velocity(x, level, to if effort.solver == "euler" else level)
        if effort.solver == "heun" and to > 0:
            v = (v + velocity(x + (to - level) * v, to, to)) / 2
        x = x + (to - level) * v
    return net.patches.join(x, h)


@given(FREE, st.sampled_from(["rows", "centre"]))
def test_one_group_or_no_overlap_is_plain_flow_matching_step_for_step(free, grouping):
    for groups, overlap in ((1, free.overlap), (free.groups, 0.0)):
        effort = Effort(free.steps, groups, overlap, grouping, free.solver, free.guidance, free.interval)
        ours, theirs = decoder(), decoder()
        asked, wanted = heard(ours), heard(theirs)
        last = painted(ours, effort)[-1]
        assert torch.allclose(last.pixels, plain(theirs, effort), atol=1e-4, rtol=1e-4)
        assert len(asked) == len(wanted) == last.calls
        for one, two in zip(asked, wanted, strict=True):
            assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(one, two, strict=True))


def calls(effort: Effort) -> int:
    """Network calls by the formula."""
    steps = math.ceil(round(effort.steps * (1 + effort.overlap * (effort.groups - 1)), 6))
    second = steps - (effort.groups if effort.overlap == 1 else 1) if effort.solver == "heun" else 0
    return (steps + second) * (1 if effort.guidance == 1 else 2)


@given(EFFORTS)
def test_network_calls_are_those_of_the_formula(effort):
    whole = Effort(**{**vars(effort), "interval": (0.0, 1.0)})
    painter = decoder()
    questions = heard(painter)
    looks = painted(painter, whole)
    assert looks[-1].calls == len(questions) == calls(whole)
    assert looks[-1].steps == painter.steps(LAYOUT, whole) == len(looks)
    within = painted(painter, effort)[-1].calls
    assert calls(Effort(**{**vars(effort), "guidance": 1.0})) <= within == len(questions) - calls(whole) <= calls(whole)


@given(EFFORTS)
@torch.no_grad()
def test_what_is_finished_is_final_and_what_has_not_begun_is_still_exactly_its_noise(effort):
    painter = decoder()
    plan, per = painter.plan(LAYOUT, effort), painter.denoiser.patches.spread
    canvas = painter._begin(tokens(), LAYOUT, ALL, effort, Seeded([0, 1]), torch.arange(2), None)
    drawn, seen = canvas.patches, []
    for step in range(plan.steps):
        painter._step(canvas, LAYOUT, step)
        seen.append(canvas.patches)
    for step, patches in enumerate(seen, 1):
        level = per(plan.level(step).float().view(1, PATCHES, -1)).expand_as(patches)
        assert torch.equal(patches[level == 0], seen[-1][level == 0])
        assert torch.equal(patches[level == 1], drawn[level == 1])
        assert (patches != drawn)[level < 1].float().mean() > 0.9
    assert torch.equal(painter.denoiser.patches.join(seen[-1], 4), painted(painter, effort)[-1].pixels)


@given(st.sampled_from([2, 4, 8]), st.integers(1, 3), st.sampled_from(SOLVERS))
def test_overlap_one_never_changes_a_finished_group_and_top_rows_are_final_first(groups, steps, solver):
    looks = painted(decoder(), Effort(steps, groups, 1.0, solver=solver))
    assert len(looks) == groups * steps
    patches = decoder().denoiser.patches
    final = patches.split(looks[-1].pixels)
    for look in looks:
        done = look.step // steps * (PATCHES // groups)
        assert torch.allclose(patches.split(look.pixels)[:, :done], final[:, :done], atol=1e-5)
        assert not torch.allclose(patches.split(look.pixels)[:, done:], final[:, done:], atol=1e-2) or look is looks[-1]


@given(FREE.filter(lambda effort: effort.groups > 1 and effort.overlap > 0), st.data())
def test_patches_that_have_not_begun_influence_nothing(effort, data):
    painter = decoder()
    first = data.draw(st.integers(1, effort.groups - 1))  # of the groups whose noise is another one
    drawn = torch.randn(2, 1, PATCHES, painter.denoiser.patches.dim, generator=torch.Generator().manual_seed(3))
    other = drawn.clone()
    other[:, :, first * PATCHES // effort.groups :] += 1
    begins = math.floor(round(first * effort.overlap * effort.steps, 6))
    one, two = (painted(painter, effort, Recorded(noise)) for noise in (drawn, other))
    for a, b in zip(one[:begins], two[:begins], strict=True):
        assert torch.equal(a.pixels, b.pixels)
    if effort.steps > 1:  # pure noise does not enter the network: one step from it leads to the same, whatever it is
        assert not torch.allclose(one[-1].pixels, two[-1].pixels, atol=1e-3)


@given(EFFORTS, st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True))
def test_a_picture_does_not_depend_on_its_batch(effort, seeds):
    painter, b = decoder(), len(seeds)
    shown, known = tokens(b), torch.rand(b, 8, generator=torch.Generator().manual_seed(1)) < 0.7
    together = painted(painter, effort, Seeded(seeds), shown, known)[-1].pixels
    previews = painter.preview(shown, LAYOUT, known)
    for row in range(b):
        one = slice(row, row + 1)
        alone = painted(painter, effort, Seeded(seeds[one]), shown[one], known[one])[-1].pixels
        assert torch.allclose(alone, together[one], atol=1e-4, rtol=1e-4)
        assert torch.allclose(painter.preview(shown[one], LAYOUT, known[one]), previews[one], atol=1e-5)


@given(EFFORTS, st.data())
def test_values_of_unknown_tokens_do_not_matter_and_those_of_known_ones_do(effort, data):
    painter = decoder()
    known = torch.tensor(data.draw(st.lists(st.booleans(), min_size=16, max_size=16))).view(2, 8)
    shown, other = tokens(), tokens(seed=1)
    mixed = torch.where(known[..., None], shown, other)
    one, two = (painted(painter, effort, None, each, known)[-1].pixels for each in (shown, mixed))
    assert torch.equal(one, two)
    assert torch.equal(painter.preview(shown, LAYOUT, known), painter.preview(mixed, LAYOUT, known))
    apart = (known & (shown != other).any(-1)).any(1)
    three = painted(painter, effort, None, other, known)[-1].pixels
    assert torch.equal((three != one).flatten(1).any(1), apart)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_tokens_of_every_space_are_painted_at_every_scale_down_to_a_patch_a_group(space, scale):
    painter = decoder(space=SPACES[space], scale=scale, patch=2)
    count = math.prod(painter.denoiser.grid(LAYOUT))
    assert count == 8 * scale**2
    shown = tiny.tokens_of(SPACES[space], LAYOUT, 2)
    for effort in (Effort(2), Effort(1, count, 1.0)):
        looks = painted(painter, effort, None, shown)
        assert looks[-1].pixels.shape == (2, 4, 8 * scale, 4 * scale) and torch.isfinite(looks[-1].pixels).all()
        assert looks[-1].calls == len(looks) == (2 if effort.groups == 1 else count)


@given(EFFORTS)
def test_guidance_one_is_off_and_so_is_guidance_at_no_level(effort):
    off = Effort(**{**vars(effort), "guidance": 1.0})
    never = Effort(**{**vars(effort), "guidance": 3.0, "interval": (0.0, 0.0)})
    painter = decoder()
    one, two = painted(painter, off)[-1], painted(painter, never)[-1]
    assert torch.equal(one.pixels, two.pixels) and one.calls == two.calls
