"""The laws of drawing hold for every order, head, prompt and transformer of the table, not only for text models.

Each way learns, draws, draws the same fast as slow and alone as in a batch, keeps what is given and leaks nothing.
"""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.drawing import resumed
from kiloword.engine.drive import draw
from kiloword.heads.head import Sampling, Soft
from kiloword.modality import Modality
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.tokens import Vector
from kiloword.tokens.space import values_of

NAMES = st.sampled_from(list(tiny.WAYS))
CLASSES = st.lists(st.sampled_from([0, 1, 2, None]), min_size=1, max_size=3)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Ids are equal; vectors nearly so: what rounding does to one token, an untrained diffusion makes more of."""
    return torch.equal(a, b) if not a.is_floating_point() else bool((a - b).norm() <= 1e-3 * b.norm())


def drawn(way, model, drawing, seeds) -> list:
    return list(way(model, drawing, Seeded(seeds)))


def loss(model, prompts, target, shown, seed: int = 5) -> torch.Tensor:
    """The loss of every token under the same chance each time; this one masks some tokens of masked orders only."""
    torch.manual_seed(seed)
    return tiny.picture_losses(model, prompts, target, shown)


@pytest.mark.parametrize("name", tiny.WAYS)
def test_it_learns(name):
    model = tiny.way(name)
    pictures = model.picture.tokenizer.encode(tiny.pixels(3), tiny.layout_of(model), Seeded([1, 2, 3]))

    def several() -> torch.Tensor:
        return torch.stack([loss(model, [0, None, 2], pictures.target, pictures.shown, seed) for seed in range(8)])

    before = several()
    assert torch.isfinite(before).all() and before.abs().sum() > 0
    before.sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [n for n in silent if "tokenizer" not in n and not n.startswith("decoder.")] == []  # taught by themselves
    norm = torch.nn.utils.get_total_norm(p.grad for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.003 * parameter.grad / norm
        assert several().sum() < before.sum()


@pytest.mark.parametrize("name", tiny.WAYS)
@torch.no_grad()
def test_it_draws_every_token_once(name):
    model = tiny.way(name)
    drawing = tiny.drawing(model, [1, None])
    steps = drawn(ImageModel.draw, model, drawing, [1, 2])
    known = torch.stack([p.known for p in steps])
    assert known[-1].all() and (known.int().diff(dim=0) >= 0).all()
    schedule = model.picture.order.schedule(drawing.layout, 2, None, Seeded([1, 2]))
    visits = torch.stack([schedule.visited(step) for step in range(schedule.steps)]).sum(0)
    if name in tiny.GRADUAL:  # as many steps as its ramp touches, and none is left out
        assert (visits == schedule.stop.ceil() - schedule.start.floor()).all() and (visits > 1).all()
    else:
        assert (visits == 1).all() and known[0].any(1).all()
    for before, after in pairwise(steps):
        assert torch.equal(after.tokens[before.known], before.tokens[before.known])
    model.picture.tokenizer.space.check(steps[-1].tokens)
    decoder, last, rows = model.pixel_decoder, steps[-1], torch.arange(2)
    *_, painted = decoder.decode_steps(last.tokens, drawing.layout, last.known, decoder.effort, Seeded([1, 2]), rows)
    assert painted.pixels.shape == (2, 4, decoder.scale * tiny.ROWS, decoder.scale * tiny.COLUMNS)
    assert torch.isfinite(painted.pixels).all()


@given(NAMES, CLASSES, st.sampled_from([1.0, 2.5]), st.data())
@torch.no_grad()
def test_fast_is_slow_with_guidance_and_given_tokens(name, prompts, guidance, data):
    model, b = tiny.way(name), len(prompts)
    n = tiny.layout_of(model).count
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=b * n, max_size=b * n))).view(b, n)
    kept = tiny.tokens(model, b, seed=3)
    drawing = tiny.drawing(model, prompts, guidance, tokens=kept, given=mask)
    slow, fast = (drawn(way, model, drawing, range(b)) for way in (ImageModel.draw, draw))
    assert len(slow) == len(fast)
    for one, two in zip(slow, fast, strict=True):
        assert close(one.tokens, two.tokens) and torch.equal(one.known, two.known)
    assert torch.equal(fast[-1].tokens[mask], kept[mask])


@given(NAMES, CLASSES, st.data())
@torch.no_grad()
def test_a_drawing_goes_on_from_any_step_as_if_it_had_not_been_stopped(name, prompts, data):
    model, seeds = tiny.way(name), range(len(prompts))
    drawing = tiny.drawing(model, prompts, 2.0)
    steps = drawn(draw, model, drawing, seeds)
    stopped = steps[data.draw(st.integers(0, len(steps) - 1))]
    went_on = drawn(draw, model, resumed(drawing, stopped), seeds)[-1].tokens
    assert close(went_on, steps[-1].tokens)
    other = resumed(tiny.drawing(model, [2] * len(prompts), 2.0), stopped)
    elsewhere = drawn(draw, model, other, seeds)[-1].tokens
    assert torch.equal(elsewhere[stopped.known], stopped.tokens[stopped.known])


@given(NAMES, CLASSES)
@torch.no_grad()
def test_a_picture_does_not_depend_on_its_batch(name, prompts):
    model = tiny.way(name)
    together = drawn(draw, model, tiny.drawing(model, prompts, 2.0), range(len(prompts)))[-1].tokens
    for row, prompt in enumerate(prompts):
        assert close(drawn(draw, model, tiny.drawing(model, [prompt], 2.0), [row])[-1].tokens[0], together[row])


@given(NAMES, CLASSES)
@torch.no_grad()
def test_weights_one_and_zero_are_no_guidance_and_weights_may_change_with_the_steps(name, prompts):
    model, b = tiny.way(name), len(prompts)
    plain = drawn(draw, model, tiny.drawing(model, prompts), range(b))[-1].tokens
    guided = tiny.drawing(model, prompts, 3.0)
    off = torch.tensor([1.0, 0.0])[:, None].expand(2, b)
    assert close(drawn(draw, model, replace(guided, weights=off), range(b))[-1].tokens, plain)
    steps = model.picture.order.schedule(guided.layout, b, None, Seeded(range(b))).steps
    stepwise = replace(guided, weights=guided.weights.expand(steps, 2, b), sampling=(Sampling(),) * steps)
    assert close(drawn(draw, model, stepwise, range(b))[-1].tokens, drawn(draw, model, guided, range(b))[-1].tokens)


@given(st.sampled_from(tiny.CAUSAL), st.data())
@torch.no_grad()
def test_a_shown_token_changes_only_what_is_predicted_later(name, data):
    model = tiny.way(name)
    layout, target = tiny.layout_of(model), tiny.tokens(model, 2)
    torch.manual_seed(5)  # as the loss is found
    rank = model.picture.order.training_schedule(layout, 2, None).start
    token = data.draw(st.integers(0, layout.count - 1))
    shown = target.clone()
    shown[:, token] = tiny.tokens(model, 2, seed=9)[:, token]
    shown[:, token] += (shown[:, token] == target[:, token]).to(shown.dtype)
    if not target.is_floating_point():
        shown %= values_of(model.picture.tokenizer.space)
    before, after = loss(model, [0, 1], target, target), loss(model, [0, 1], target, shown)
    later = rank > rank[:, token, None]
    assert torch.allclose(before[~later], after[~later], atol=1e-5, rtol=1e-5)
    if later.any():
        assert (before - after).abs()[later].amax() > 1e-5


@pytest.mark.parametrize("name", tiny.MASKED)
@torch.no_grad()
def test_a_masked_token_is_not_seen_and_a_known_one_is(name):
    model = tiny.way(name)
    target, other = tiny.tokens(model, 2), tiny.tokens(model, 2, seed=4)
    losses = {seed: loss(model, [0, 1], target, target, seed) for seed in range(9)}
    seed, before = next((seed, found) for seed, found in losses.items() if not (found != 0).all())
    asked = before != 0
    unknown = asked.view(*asked.shape, *(1,) * (target.ndim - 2))
    assert torch.allclose(loss(model, [0, 1], target, torch.where(unknown, other, target), seed), before, atol=1e-6)
    moved = (loss(model, [0, 1], target, torch.where(unknown, target, other), seed) - before).abs()
    assert (moved[asked] > 1e-6).any() and (moved[~asked] == 0).all()


@given(NAMES)
@torch.no_grad()
def test_a_class_changes_its_own_picture_only(name):
    model = tiny.way(name)
    tokens = tiny.tokens(model, 2)
    before, after = loss(model, [0, 1], tokens, tokens), loss(model, [2, 1], tokens, tokens)
    assert ((before - after)[0][before[0] != 0].abs() > 1e-7).any()
    assert torch.allclose(before[1], after[1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_soft_choices_are_distributions_and_become_hard_when_cold():
    model = tiny.way("next scale")
    cold = tiny.drawing(model, [0, 1], sampling=Sampling(soft=Soft(1e-4)))
    slow, fast = (drawn(way, model, cold, [1, 2])[-1].tokens for way in (ImageModel.draw, draw))
    assert slow.shape == (2, 11, 5) and torch.allclose(slow.sum(-1), torch.ones(2, 11))
    assert torch.allclose(slow, fast, atol=1e-3) and (slow.amax(-1) > 0.99).float().mean() > 0.9
    warm = drawn(draw, model, replace(cold, sampling=Sampling(soft=Soft(2.0))), [1, 2])[-1].tokens
    assert warm.amax(-1).mean() < 0.9


@pytest.mark.parametrize("name", ["vectors by regression", "directions and a decoder"])
@pytest.mark.parametrize("way", [ImageModel.draw, draw])
def test_a_token_that_is_worked_out_is_never_guided(name, way):
    model = tiny.way(name)
    assert not model.picture.head.guidable
    drawing = replace(tiny.drawing(model, [0, 1], 2.0), weights=torch.tensor([[1.0, 2.5], [0.0, -1.5]]))
    with pytest.raises(ValueError, match=r"^a regressed token cannot be guided: guidance is 1 \(off\) .* got 2.5$"):
        drawn(way, model, drawing, [1, 2])


def test_tokens_that_hold_no_pixels_need_a_decoder():
    tokenizer, order, head, prompt, transformer, _ = (part.build() for part in tiny.WAYS["directions and a decoder"])
    with pytest.raises(ValueError, match="cannot be decoded to pixels without a diffusion decoder"):
        ImageModel(Modality(tokenizer, order, head), prompt, transformer)


@pytest.mark.parametrize("changes,reason", [
    ({"order": "next scale", "head": "masked shades"}, "feeds canvases, and the head's entrance takes tokens"),
    ({"order": "masked shades", "head": "next scale"}, "feeds tokens, and the head's entrance takes canvases"),
    ({"transformer": "masked vectors"}, "the transformer shows all to all"),
    ({"head": "masked vectors"}, "the head predicts Vector"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(changes, reason):
    names = ("tokenizer", "order", "head", "prompt", "transformer")
    chosen = {n: tiny.WAYS[changes.get(n, "vectors in raster" if n == "transformer" else "next scale")] for n in names}
    tokenizer, order, head, prompt, transformer = (chosen[n][k].build() for k, n in enumerate(names))
    with pytest.raises(ValueError, match=reason):
        ImageModel(Modality(tokenizer, order, head), prompt, transformer)


def test_vectors_are_a_space_of_their_own():
    assert isinstance(tiny.way("masked vectors").picture.tokenizer.space, Vector)
