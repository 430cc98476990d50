"""Drivers: who runs the transformer for tasks. Alone is the plain fast path; together merges the passes of many tasks.

Yu et al. 2022 (Orca) for continuous batching: tasks join and leave between any two passes.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from kiloword.drawing import Drawing, Progress
from kiloword.engine.cpu.fused_stack import fused
from kiloword.engine.cpu.threads import threads
from kiloword.engine.draw_task import DrawTask
from kiloword.engine.task import Batchlet, Task, WriteTask
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Noise
from kiloword.opening import pile
from kiloword.tokens import Document
from kiloword.transformer import Slots, Stream, Transformer, at


def alone(task: Task, transformer: Transformer) -> Iterator[None]:
    """One task until it is finished, a pass each time; stop iterating to cancel it."""
    weights, positions = mean_weights(transformer), 1  # a pass has as many threads as the one before was worth
    transformer = fused(transformer)
    cache = transformer.cache(task.sequences, task.capacity) if task.capacity else None
    while True:
        with threads(weights, positions):
            if (batchlet := task.ask()) is None:
                return
            hidden = transformer(batchlet.stream, cache)
            if cache is not None:
                cache.advance(batchlet.keep)
            task.take(hidden)
        positions = batchlet.positions
        yield


def mean_weights(transformer: Transformer) -> int:
    """The mean size of a transformer's matrices."""
    assert isinstance(transformer, nn.Module)
    sizes = [weight.numel() for weight in transformer.parameters() if weight.ndim == 2]
    return sum(sizes) // max(1, len(sizes))


class Together:
    """Continuous batching: tasks of one transformer that join and leave between any two passes.

    Each comes out as it would alone. In a step every task gets one pass; tasks that send about equally many positions
    share it.
    """

    def __init__(self, transformer: Transformer):
        self._transformer, self._weights, self._positions = fused(transformer), mean_weights(transformer), 1
        self.slots = Slots(transformer.cache)
        self._tasks: dict[Task, list[int]] = {}  # with their slots; none for those that keep nothing
        self._merged = Merged()

    @property
    def tasks(self) -> list[Task]:
        """Those at work, in the order in which they joined."""
        return list(self._tasks)

    def join(self, task: Task) -> None:
        """Let a task take part from the next step on."""
        assert task not in self._tasks, "a task joins once"
        self._tasks[task] = self.slots.put(task.sequences, task.capacity) if task.capacity else []

    def cancel(self, task: Task) -> None:
        """A task leaves, finished or not."""
        slots = self._tasks.pop(task)
        if slots:
            self.slots.free(slots)

    def step(self) -> list[Task]:
        """One pass for every task; those that are finished leave, and are returned."""
        with threads(self._weights, self._positions):
            return self._step()

    def _step(self) -> list[Task]:
        requests = {task: task.ask() for task in self._tasks}
        finished = [task for task, batchlet in requests.items() if batchlet is None]
        for task in finished:
            self.cancel(task)
        groups: dict[object, list[tuple[Task, Batchlet]]] = {}
        for task, batchlet in requests.items():
            if batchlet is not None:
                groups.setdefault(company(task, batchlet), []).append((task, batchlet))
        for group in groups.values():
            self._pass(group)
        self._positions = max(1, sum(batchlet.positions for batchlet in requests.values() if batchlet is not None))
        return finished

    def run(self) -> None:
        """Steps until all tasks are finished."""
        while self._tasks:
            self.step()

    def _pass(self, group: list[tuple[Task, Batchlet]]) -> None:
        slots = [slot for task, _ in group for slot in self._tasks[task]]
        stream = self._merged([batchlet.stream for _, batchlet in group])
        if slots:
            hidden = self._transformer(stream, self.slots.at(slots))
            self.slots.keep(slots, torch.cat([batchlet.keep for _, batchlet in group]))
        else:
            hidden = self._transformer(stream)
        parts = hidden.split([len(batchlet.stream.vectors) for _, batchlet in group])
        for (task, batchlet), part in zip(group, parts, strict=True):
            if len(group) > 1:
                part = at(part[:, : batchlet.stream.vectors.shape[1]], batchlet.stream.query_index)
            task.take(part)


def company(task: Task, batchlet: Batchlet) -> object:
    """What tasks have in common that share a pass: the power of two that covers their positions, and whether they keep
    anything. One with hidden guidance has a pass of its own."""
    stream = batchlet.stream
    return id(task) if stream.hidden_guidance is not None else (stream.vectors.shape[1].bit_length(), task.capacity > 0)


class Merged:
    """The streams of several tasks as one. What is the same at every step of the same tasks, modulations and contexts,
    is put together once."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[list[object], object]] = {}

    def __call__(self, streams: list[Stream]) -> Stream:
        if len(streams) == 1:
            return streams[0]
        merged = pile([divided(stream) for stream in streams] if uneven(streams) else streams)
        for name in ("modulation", "context", "topic"):
            parts: list[object] = [getattr(stream, name) for stream in streams]
            kept, _ = self._last.get(name, ([], None))
            if len(kept) != len(parts) or any(one is not two for one, two in zip(kept, parts, strict=True)):
                self._last[name] = parts, getattr(merged, name)
        return replace(merged, **{name: self._last[name][1] for name in ("modulation", "context", "topic")})


def uneven(streams: list[Stream]) -> bool:
    """Whether some positions do not attend to all others of their sequence, or lengths differ."""
    lengths = {stream.vectors.shape[1] for stream in streams}
    return len(lengths) > 1 or any(stream.span is not None for stream in streams)


def divided(stream: Stream) -> Stream:
    """A stream with explicit attention fields, also where all positions attend to all."""
    if stream.span is not None:
        return stream
    zeros = torch.zeros(stream.vectors.shape[:2], dtype=torch.long, device=stream.vectors.device)
    return replace(stream, span=zeros, step=zeros, causal=zeros > 0, present=zeros == 0)


def draw(model: ImageModel, drawing: Drawing, noise: Noise) -> Iterator[Progress]:
    """The tokens after every step, as `model.draw` gives them; stop iterating to cancel. Raises ValueError at once for
    what cannot be drawn."""
    return _steps(DrawTask(model, drawing, noise), model.transformer)


def _steps(task: DrawTask, transformer: Transformer) -> Iterator[Progress]:
    last = None
    for _ in alone(task, transformer):
        if task.progress is not last:
            last = task.progress
            assert last is not None
            yield last


def write(model: ImageModel, documents: list[Document], sampling: Sampling, noise: Noise) -> list[str]:
    """A text for each document, whose last segment is the text to predict."""
    task = WriteTask(model, documents, sampling, noise)
    for _ in alone(task, model.transformer):
        pass
    return task.texts()
