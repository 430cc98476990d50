"""What a picture costs to draw: passes of the transformer and of the head, seconds, and memory at its peak.

Dehghani et al. 2021 (The Efficiency Misnomer): one figure of cost is none. Systems are timed alternately, so a busy
machine slows them alike; memory is that of a fresh process, as one that has drawn before keeps its buffers.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kiloword.engine.painter import Painter
from kiloword.evaluation.session import Session
from kiloword.heads.denoising_mlp import DenoisingMLP
from kiloword.studies.jobs import painter_of
from kiloword.transformer import Cache, KeyValueCache, Stack, Stream, Transformer

# Axes: b sequences of the batch, t positions, w width.

COUNTS = (1, 16)  # pictures at once
STATUS = Path("/proc/self/status")


class Counted(nn.Module):
    """A transformer that counts its forward passes."""

    def __init__(self, inner: Transformer):
        super().__init__()
        self.inner, self.passes, self.causal = inner, 0, inner.causal
        self.eval()

    @property
    def width(self) -> int:
        return self.inner.width

    @property
    def cross_attends(self) -> bool:
        return self.inner.cross_attends

    @property
    def modulated(self) -> bool:
        return self.inner.modulated

    def cache(self, batch: int, capacity: int) -> KeyValueCache:
        return self.inner.cache(batch, capacity)

    def forward(self, stream: Stream, cache: Cache | None = None) -> Float[Tensor, "b t w"]:
        self.passes += 1
        return self.inner(stream, cache)


def passes(painter: Painter, prompt: str) -> dict[str, int]:
    """How often the transformer, and a network within the head, are called for one picture; the text is a pass."""
    model, small = painter.model, [0]
    inner, counted = model.transformer, Counted(model.transformer)
    networks = [part for part in model.picture.head.children() if isinstance(part, DenoisingMLP | Stack)]  # type: ignore[attr-defined]

    def count(*_: Any) -> None:
        small[0] += 1

    hooks = [network.register_forward_hook(count) for network in networks]
    model.transformer = counted
    try:
        Session(painter, 1).drawn([prompt], [0])
    finally:
        model.transformer = inner
        for hook in hooks:
            hook.remove()
    return {"transformer": counted.passes, "head": small[0]}


def seconds(painters: dict[str, Painter], prompts: Sequence[str], rounds: int) -> dict[str, dict[str, float]]:
    """Seconds a picture at each of the `COUNTS`, the best of some rounds, the first of which is not counted."""
    best: dict[str, dict[str, float]] = {name: {} for name in painters}
    for number in range(rounds + 1):
        for name, painter in painters.items():
            for count in COUNTS:
                texts = [prompts[i % len(prompts)] for i in range(count)]
                duration = Session(painter, count).drawn(texts, list(range(count)))[1] / count
                if number:
                    best[name][str(count)] = min(duration, best[name].get(str(count), duration))
    return best


def memory(folder: Path, settings: dict[str, float], prompt: str) -> float | None:
    """Peak MB of drawing pictures beyond those of the model; None where that cannot be measured."""
    if torch.cuda.is_available():
        return drawn_in(folder, settings, prompt)
    if not STATUS.exists():
        return None
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        return fresh.submit(drawn_in, folder, settings, prompt).result()


def drawn_in(folder: Path, settings: dict[str, float], prompt: str) -> float:
    """The peak MB that drawing the largest of the `COUNTS` adds to this process."""
    painter, count = painter_of(folder, **settings), max(COUNTS)
    device = painter.device
    forget(device)
    before = held(device)
    Session(painter, count).drawn([prompt] * count, list(range(count)))
    return held(device) - before


def forget(device: torch.device) -> None:
    """Reset the peak, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        STATUS.with_name("clear_refs").write_text("5")  # proc(5): the peak is what is held now


def held(device: torch.device) -> float:
    """The peak of memory so far, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = STATUS.read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024
