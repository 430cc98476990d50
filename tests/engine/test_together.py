"""Together: whoever joins and leaves when, every task comes out as it would alone."""

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import documents
import tiny
from kiloword.document import to_describe, to_draw
from kiloword.drawing import Drawing
from kiloword.engine.draw_task import DrawTask
from kiloword.engine.drive import Together, alone
from kiloword.engine.task import ReadTask, Task, WriteTask
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.tokens import Layout

NAMES = st.sampled_from(documents.NAMES)
WAYS = st.sampled_from(list(tiny.WAYS))
SAMPLINGS = (Sampling(), Sampling(0.7, top_p=0.9), Sampling(0.0))


@dataclass(frozen=True)
class Work:
    """A task to be: of what kind, when it joins, after how many steps it is cancelled (None: never), and its seed."""

    kind: str
    joins: int
    leaves: int | None
    seed: int
    count: int = 1
    guidance: float = 1.0
    sampling: int = 0
    size: int = 0
    texts: list[str] = field(default_factory=lambda: ["a pear"])


WORKS = st.lists(
    st.builds(
        Work, st.sampled_from(["draw", "draw", "write", "read"]), st.integers(0, 9),
        st.none() | st.integers(0, 6), st.integers(0, 99), st.integers(1, 2), st.sampled_from([1.0, 2.5]),
        st.integers(0, 2), st.integers(0, 1), st.lists(st.sampled_from(tiny.TEXTS), min_size=2, max_size=2),
    ),
    min_size=2, max_size=5,
)  # fmt: skip


def task_of(model: ImageModel, name: str, work: Work) -> Task:
    """The task itself, anew each time."""
    layout = Layout((documents.SIZES[work.size],))
    seeds = Seeded(range(work.seed, work.seed + work.count))
    pictures = tiny.tokens_of(model.picture.tokenizer.space, layout, work.count, work.seed)
    match work.kind:
        case "write":
            return WriteTask(model, to_describe(pictures, layout), Sampling(), seeds)
        case "read":
            return ReadTask(model, to_describe(pictures, layout), [[text] * work.count for text in work.texts])
    drawn = to_draw(work.texts[: work.count], layout)
    views, weights = [model.opening(drawn)], torch.ones(1, work.count)
    if work.guidance != 1:
        views.append(model.opening(drawn, null=True))
        weights = torch.tensor([[work.guidance], [1 - work.guidance]]).expand(2, work.count)
    sampling = SAMPLINGS[work.sampling] if not pictures.is_floating_point() else Sampling()
    return DrawTask(model, Drawing(layout, views, weights, sampling), seeds)


def outcome(task: Task) -> torch.Tensor | list[str]:
    match task:
        case WriteTask():
            return task.texts()
        case ReadTask():
            return task.log_likelihood()
    return task.state.tokens


def same(one, two) -> bool:
    if isinstance(one, list):
        return one == two
    if not one.is_floating_point():
        return torch.equal(one, two)
    return bool((one - two).norm() <= 1e-3 * two.norm())  # what rounding does, an untrained diffusion makes more of


def interleaved(together: Together, tasks: dict[int, Task], works: list[Work]) -> None:
    """Steps until all have joined and nobody is at work."""
    step, inside = 0, {}
    while step <= max(work.joins for work in works) or together.tasks:
        for number, work in enumerate(works):
            if work.joins == step:
                together.join(tasks[number])
                inside[number] = step
            leaves = work.leaves is not None and number in inside and step - inside[number] == work.leaves
            if leaves and tasks[number] in together.tasks:
                together.cancel(tasks[number])
        together.step()
        step += 1


@settings(max_examples=40)
@given(NAMES, WORKS)
@torch.no_grad()
def test_every_task_comes_out_as_alone_whoever_joins_and_leaves(name, works):
    model = documents.model(name)
    tasks = {number: task_of(model, name, work) for number, work in enumerate(works)}
    together = Together(model.transformer)
    interleaved(together, tasks, works)
    for number, work in enumerate(works):
        if work.leaves is None:
            single = task_of(model, name, work)
            for _ in alone(single, model.transformer):
                pass
            assert same(outcome(tasks[number]), outcome(single)), (number, work)
    assert together.slots.used == []


@settings(max_examples=40)
@given(WAYS, st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.sampled_from([1.0, 2.0])), min_size=2))
@torch.no_grad()
def test_every_way_of_drawing_is_batched_with_others_of_its_kind(name, works):
    model, works = tiny.way(name), works[:4]

    def task(number: int) -> DrawTask:
        _, prompt, guidance = works[number]
        return DrawTask(model, tiny.drawing(model, [prompt], guidance), Seeded([number]))

    together, tasks = Together(model.transformer), [task(number) for number in range(len(works))]
    step = 0
    while step < 5 or together.tasks:
        for number, (joins, _, _) in enumerate(works):
            if joins == step:
                together.join(tasks[number])
        together.step()
        step += 1
    for number, found in enumerate(tasks):
        single = task(number)
        for _ in alone(single, model.transformer):
            pass
        assert same(found.state.tokens, single.state.tokens)


@torch.no_grad()
def test_tasks_that_send_as_many_positions_share_a_pass():
    model = documents.model("prefix, raster")
    passes = []
    model.transformer.register_forward_pre_hook(lambda _, sent: passes.append(sent[0].vectors.shape[:2]))
    model.train()  # so that the stack itself is asked
    try:
        together = Together(model.transformer)
        works = [Work("draw", 0, None, seed, texts=["a pear"] * 2) for seed in range(3)]
        tasks = [task_of(model, "prefix, raster", work) for work in works]
        passes.clear()
        for task in tasks:
            together.join(task)
        together.run()
    finally:
        model.eval()
        model.transformer._forward_pre_hooks.clear()
    assert [batch for batch, _ in passes] == [3] * 9 and [count for _, count in passes[1:]] == [1] * 8


@torch.no_grad()
def test_slots_are_used_again():
    model = documents.model("prefix, raster")
    together = Together(model.transformer)
    for seed in range(4):
        together.join(task_of(model, "prefix, raster", Work("draw", 0, None, seed)))
        together.join(task_of(model, "prefix, raster", Work("write", 0, None, seed)))
        assert together.slots.used == [0, 1]
        together.run()
        assert together.slots.used == []


def test_a_task_that_fails_takes_nobody_with_it():
    """What is wrong with a task comes up when it is made, before it joins."""
    model = documents.model("prefix, raster")
    with pytest.raises(ValueError, match="1 groups: this order makes each token known at once"):
        layout = Layout(((4, 2),))
        drawing = Drawing(layout, [model.opening(to_draw(["a pear"], layout))], torch.ones(1, 1), groups=(1, 1.0))
        DrawTask(model, drawing, Seeded([0]))
