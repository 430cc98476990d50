"""Tokens that become known little by little: in one group it is a flow, in several what is known stays and is not
worked on again."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.document import Piece, lay, picture_span, text_span, to_draw
from kiloword.drawing import resumed
from kiloword.engine.drive import draw
from kiloword.engine.preview import expected
from kiloword.model import ImageModel
from kiloword.noise import Seeded, euler
from kiloword.opening import behind
from kiloword.orders.denoise import Denoise, DenoiseConfig
from kiloword.tokens import Fed
from kiloword.transformer import AdaLNOutputConfig, SharedAdaLNConfig, visible

NAMES = st.sampled_from(tiny.GRADUAL)
APART = [name for name in tiny.GRADUAL if name != "denoised through a U-Net"]
GROUPS = st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]))
CLASSES = st.lists(st.sampled_from([0, 1, 2, None]), min_size=1, max_size=2)


def drawn(way, model, drawing) -> list:
    return list(way(model, drawing, Seeded(range(drawing.count))))


def grouped(name: str, groups: tuple[int, float]) -> tuple[int, float]:
    """Of tokens that are patches there are only two."""
    return groups if name in APART else (min(groups[0], 2), groups[1])


class Told(Denoise):
    """An order that is learned at one table of levels."""

    def __init__(self, order: Denoise, level: torch.Tensor):
        super().__init__(order.config)
        self.level = level

    def training_levels(self, schedule, noise):
        return self.level.expand(len(schedule.start), -1)


@given(NAMES, CLASSES, st.sampled_from([1.0, 2.5]), st.integers(1, 5), st.floats(0, 1))
@torch.no_grad()
def test_one_group_is_plain_flow_matching_step_for_step(name, prompts, guidance, steps, overlap):
    """Noise, and Euler steps of equal size along the velocity that the network gives for one level and all tokens."""
    model, b = tiny.way(name), len(prompts)
    drawing = replace(tiny.drawing(model, prompts, guidance), steps=steps, groups=(1, overlap))
    layout, head = drawing.layout, model.picture.head
    x = Seeded(range(b)).normal((layout.count, head.space.dim), torch.arange(b))
    place, before = torch.arange(layout.count).expand(b, -1), None
    for step, progress in enumerate(drawn(draw, model, drawing)):
        level = torch.full((b, layout.count), 1 - step / steps)
        fed = Fed(x, torch.zeros_like(level).bool(), level, place)
        velocity = torch.zeros_like(x)
        for view, weight in zip(drawing.views, drawing.weights, strict=True):
            vectors, memo = head.enter(fed, layout)
            picture = picture_span(vectors, layout, place, torch.zeros_like(place), causal=False)
            picture = replace(picture, modulation=head.modulation(fed), filled=torch.zeros_like(level).bool())
            stream = behind(view, picture, model.transformer.modulated)
            hidden = model.transformer(stream)[:, -layout.count :]
            velocity += weight[:, None, None] * head.velocity(hidden[None], memo)[0]
        clean = x - level[..., None] * velocity
        x = euler(x, velocity, level[..., None], level[..., None] - 1 / steps)
        assert torch.allclose(progress.tokens, x, atol=1e-5) and progress.steps == steps
        seen, known = expected(before, progress)  # a preview shows what the step headed for
        assert before is None or (known.all() and torch.allclose(seen, clean if step + 1 < steps else x, atol=1e-4))
        before = progress


@given(NAMES, CLASSES, st.sampled_from([1.0, 2.5]), GROUPS, st.integers(1, 3), st.data())
@torch.no_grad()
def test_fast_is_slow_in_any_groups_and_goes_on_from_any_step(name, prompts, guidance, groups, steps, data):
    model, b, n = tiny.way(name), len(prompts), tiny.layout_of(tiny.way(name)).count
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=b * n, max_size=b * n))).view(b, n)
    kept = tiny.tokens(model, b, seed=3)
    drawing = tiny.drawing(model, prompts, guidance, tokens=kept, given=mask)
    drawing = replace(drawing, groups=grouped(name, groups), steps=steps)
    slow, fast = drawn(ImageModel.draw, model, drawing), drawn(draw, model, drawing)
    for one, two in zip(slow, fast, strict=True):
        assert torch.allclose(one.tokens, two.tokens, atol=1e-5) and torch.equal(one.known, two.known)
    assert torch.equal(fast[-1].tokens[mask], kept[mask])
    stopped = fast[data.draw(st.integers(0, len(fast) - 1))]
    rest = drawn(draw, model, resumed(drawing, stopped))
    first = min(stopped.step, stopped.steps - 1)  # what is finished is given once more
    assert [p.step for p in rest] == list(range(first + 1, stopped.steps + 1))
    for one, two in zip(fast[first:], rest, strict=True):
        assert torch.allclose(one.tokens, two.tokens, atol=1e-5) and torch.equal(one.known, two.known)


@given(NAMES, GROUPS, st.integers(1, 3))
@torch.no_grad()
def test_a_finished_group_never_changes_and_what_has_not_begun_is_noise(name, groups, steps):
    model, (count, overlap) = tiny.way(name), grouped(name, groups)
    drawing = replace(tiny.drawing(model, [1]), groups=(count, overlap), steps=steps)
    noise = Seeded([0]).normal((drawing.layout.count, model.picture.head.space.dim), torch.arange(1))
    progress = drawn(draw, model, drawing)
    for before, after in pairwise(progress):
        assert torch.equal(after.tokens[before.known], before.tokens[before.known])
    raster_rank = model.picture.order.raster_rank(drawing.layout)
    rank = torch.div(raster_rank * count, drawing.layout.count, rounding_mode="floor")
    for p in progress:
        waiting = rank * overlap * steps >= p.step + 1e-6
        assert torch.equal(p.tokens[:, waiting], noise[:, waiting])
        assert torch.equal(p.known[0], rank * overlap * steps + steps <= p.step + 1e-6)


@given(st.sampled_from(APART), GROUPS, st.integers(1, 4), st.sampled_from([1.0, 2.5]))
@torch.no_grad()
def test_network_calls_are_those_of_the_formula_and_known_tokens_are_looked_at_once(name, groups, steps, guidance):
    model, (count, overlap) = tiny.way(name), groups
    drawing = replace(tiny.drawing(model, [0, 2], guidance), groups=groups, steps=steps)
    rows, n = [], drawing.layout.count
    model.transformer.register_forward_pre_hook(lambda _, seen: rows.append(seen[0].vectors.shape[1]))
    model.train()  # so that the stack itself is asked, and not its fused twin
    list(draw(model, drawing, Seeded([1, 2])))
    start = torch.arange(count) * overlap * steps
    calls = rows[1:] if drawing.views[0].stream.vectors.shape[1] else rows
    assert len(calls) == math.ceil(steps * (1 + overlap * (count - 1)) - 1e-6)
    for step, now in enumerate(calls):
        at_work = ((start < step + 1 - 1e-6) & (start + steps > step + 1e-6)).sum()
        finished = (start + steps <= step + 1e-6) & ~(start + steps <= step - 1 + 1e-6)
        assert now == (at_work + finished.sum()) * n // count


@pytest.mark.parametrize("name", [name for name in APART if name != "denoised"])
@torch.no_grad()
def test_the_level_of_each_token_reaches_its_own_modulation(name):
    model = tiny.way(name)
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 2)
    place, opening = torch.arange(layout.count).expand(2, -1), model.opening(to_draw([0, 1], layout))
    schedule = model.picture.order.schedule(layout, 2, None, None)

    def laid(level: torch.Tensor):
        fed = model.picture.feed(tokens, schedule, level, place, layout)
        span, _ = model.picture.drawn_span(fed, schedule, torch.zeros_like(place), layout)
        return behind(opening, span, modulated=True)

    level = torch.full((2, layout.count), 0.5)
    other = level.clone()
    other[1, 3] = 0.7
    before, after = laid(level), laid(other)
    moved = (before.modulation - after.modulation).abs().amax(-1) > 1e-4
    m = opening.stream.vectors.shape[1]
    assert moved.nonzero().tolist() == [[1, m + 3]] and torch.equal(before.vectors, after.vectors)
    heard = (model.transformer(before) - model.transformer(after)).abs().amax(-1)
    assert heard[1, m + 3] > 1e-4 and (heard[0] == 0).all()
    fed = model.picture.feed(tokens, schedule, other, place, layout)
    span, _ = model.picture.drawn_span(fed, schedule, torch.zeros_like(place), layout)
    text = text_span(torch.zeros(1, 3, tiny.WIDTH), torch.ones(1, 3).bool(), causal=True)
    packed = lay([[Piece(0, 0)], [Piece(0, 1)], [Piece(1, 0)]], [span, text], capacity=40, modulated=True)
    told = [packed.unpack(packed.stream.modulation, lot) for lot in (0, 1)]
    assert torch.equal(told[0], span.modulation) and not told[1].any()


@pytest.mark.parametrize("name", [name for name in APART if name != "denoised"])
def test_levels_that_nothing_hears_are_refused(name):
    model, shared = tiny.way(name), SharedAdaLNConfig()
    assert model.picture.head.modulates and not tiny.way("denoised").picture.head.modulates
    with pytest.raises(ValueError, match="tells each token's level to the blocks, and nothing modulates"):
        ImageModel(model.picture, model.prompt, tiny.stack().build())
    ImageModel(model.picture, model.prompt, tiny.stack(modulation=shared).build())
    ImageModel(model.picture, model.prompt, tiny.stack(output_modulation=AdaLNOutputConfig()).build())


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4)), min_size=1, max_size=5))
def test_a_mixed_stream_is_causal_between_spans_and_full_inside_a_picture(spans):
    """Zhou et al. 2024: a position attends to those before it, and to all of its own picture."""
    model, laid, picture = tiny.way("denoised"), [], []
    layout, none = tiny.layout_of(model), torch.zeros(1, 8, dtype=torch.bool)
    schedule = model.picture.order.schedule(layout, 1, None, None)
    rank = model.picture.order.attention_rank(schedule, layout, none, none, ~none)
    for number, (drawn_one, length) in enumerate(spans):
        rows = layout.count if drawn_one else length
        vectors = torch.zeros(1, rows, tiny.WIDTH)
        if drawn_one:
            laid.append(picture_span(vectors, layout, torch.arange(rows)[None], rank, causal=True))
        else:
            laid.append(text_span(vectors, torch.ones(1, rows, dtype=torch.bool), causal=True))
        picture += [number if drawn_one else None] * rows
    seen = visible(lay([[Piece(lot, 0) for lot in range(len(laid))]], laid).stream)[0]
    for i, row in enumerate(picture):
        for j, other in enumerate(picture):
            assert seen[i, j] == (j <= i or (row is not None and row == other))


@given(st.sampled_from(APART), st.permutations(range(8)))
@torch.no_grad()
def test_what_has_not_begun_tells_nobody_anything_and_what_is_known_is_seen(name, order):
    model = tiny.way(name)
    target = tiny.tokens(model, 1)
    level = torch.full((1, 8), 0.5)
    level[0, order[:3]], level[0, order[3:5]] = 1.0, 0.0
    model.picture.order = Told(model.picture.order, level)

    def loss(shown: torch.Tensor) -> torch.Tensor:
        return tiny.picture_losses(model, [0], target, shown, noise=Seeded([4]))[0]

    before = loss(target)
    assert ((before > 0) == ((level > 0) & (level < 1))[0]).all()
    for token in range(8):
        shown = target.clone()
        shown[:, token] += 1
        others = torch.arange(8) != token
        moved = (loss(shown) - before).abs()[others & (before > 0)].max()
        assert moved == 0 if level[0, token] == 1 else moved > 1e-6


@given(NAMES, st.data())
@torch.no_grad()
def test_a_loss_of_nothing_is_that_of_the_true_velocity(name, data):
    """The output answers for what leads from the target to the noised token: noise less the clean token."""
    model = tiny.way(name)
    layout, target = tiny.layout_of(model), tiny.tokens(model, 2)
    head, order = model.picture.head, model.picture.order
    noise = Seeded([data.draw(st.integers(0, 99)), 1])
    schedule = order.training_schedule(layout, 2, noise)
    level = order.training_levels(schedule, noise)
    noised = order.noised(target, level, Seeded([5, 6]))
    noise = Seeded([5, 6]).normal(tuple(target.shape[1:]), torch.arange(2))
    fed = order.feed(noised, schedule, level, torch.arange(layout.count).expand(2, -1), layout)
    _, memo = head.enter(fed, layout)
    head.velocity = lambda hidden, memo: (noise - target)[None]
    hidden = torch.zeros(2, layout.count, tiny.WIDTH)
    asked = (level > 1e-3) & (level < 1)
    assert (head.loss(hidden, target, memo)[asked] < 1e-6).all()


@pytest.mark.parametrize("name", [n for n in tiny.WAYS if n not in tiny.GRADUAL])
def test_groups_are_refused_where_tokens_become_known_at_once(name):
    model = tiny.way(name)
    drawing = replace(tiny.drawing(model, [0]), groups=(2, 1.0))
    for way in (ImageModel.draw, draw):
        with pytest.raises(ValueError, match="2 groups: this order makes each token known at once"):
            drawn(way, model, drawing)


@pytest.mark.parametrize("groups,steps,reason", [
    ((3, 1.0), 2, r"3 groups do not divide 8 units evenly: choose 1, 2, 4 or 8"),
    ((16, 1.0), 2, r"16 groups do not divide 8 units evenly"),
    ((2, 1.5), 2, r"overlap is from 0 \(all groups at once\) to 1 \(one by one\), got 1.5"),
    ((2, -0.1), 2, r"got -0.1"),
    ((0, 1.0), 2, r"at least 1 group, got 0"),
    ((2, 1.0), 0, r"at least 1 step, got 0"),
])  # fmt: skip
def test_what_cannot_be_is_refused_with_the_numbers(groups, steps, reason):
    model = tiny.way("denoised")
    drawing = replace(tiny.drawing(model, [0]), groups=groups, steps=steps)
    for way in (ImageModel.draw, draw):
        with pytest.raises(ValueError, match=reason):
            drawn(way, model, drawing)


@pytest.mark.parametrize("changes", [
    {"steps": 0}, {"groups": 0}, {"overlap": 2.5}, {"grouped": 1.5}, {"kept": -1.0}, {"levels": "high"},
])  # fmt: skip
def test_an_order_that_cannot_be_is_refused(changes):
    with pytest.raises(ValueError, match=str(*changes.values())):
        DenoiseConfig(**changes)


def test_heads_and_orders_that_differ_in_how_a_token_is_drawn_are_refused():
    gradual, at_once = tiny.way("denoised"), tiny.way("vectors in raster")
    for one, other in ((gradual, at_once), (at_once, gradual)):
        picture = type(one.picture)(one.picture.tokenizer, one.picture.order, other.picture.head)
        with pytest.raises(ValueError, match="this order makes tokens known in"):
            ImageModel(picture, one.prompt, one.transformer)
