"""Threads: how many a pass is worth, how they wait for each other, and what they do where other programs compute too.

OpenMP's threads spin while they wait (GNU libgomp manual, GOMP_SPINCOUNT). Beside a busy program the one that is waited
for often has no core, and then every product takes a slice of the scheduler's, milliseconds in place of microseconds.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

Value = TypeVar("Value")

WAITING = {"GOMP_SPINCOUNT": "30000", "KMP_BLOCKTIME": "1"}  # GNU's runtime (wheels for Linux), LLVM's: milliseconds
TRAINING = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}  # whose number of threads may not change: results would
POLICY = "OMP_WAIT_POLICY"  # the standard's word, which both runtimes know
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
READING, PRODUCT = 2e-10, 2e-11  # seconds of one thread, about, to read a weight and to multiply it
WORTH = 20e-6  # seconds that a product takes one thread from which on others are woken for it
LATE, SHARE = 1e-3, 1 / 3  # seconds, and share of a pass, that it waits at least where other programs compute
FIRST, MOST = 8, 256  # passes of one thread after it, at first and at most


def wait_briefly(waiting: dict[str, str] = WAITING) -> None:
    """Let OpenMP's threads spin for a fraction of a millisecond while they wait and then sleep, unless the environment
    says how they are to wait.

    Between the products of a pass they stay awake so (asleep, they double the time of the shipped model), and a core
    that another program needs is held no longer. GNU's runtime counts iterations of a loop: 30,000 take 0.3 ms where
    the processor's pause takes 10 ns, and 1.4 ms where it takes 47. It is read once, when torch is loaded:
    `import kiloword` and the command come before that, and processes that they start inherit it. Where torch was loaded
    before, its threads spin ten times as long; `threads` then still leaves them asleep where other programs compute.

    Training waits as `TRAINING` says: its products are larger, so a third of the spinning is enough on a quiet machine,
    and beside other programs less is lost, which it cannot avoid by taking one thread.
    """
    if POLICY not in os.environ and all(
        os.environ.get(name) in (None, WAITING[name], TRAINING[name]) for name in waiting
    ):
        os.environ.update(waiting)


def threads_for(weights: int, positions: int, most: int) -> int:
    """How many of `most` threads to use where matrices of `weights` numbers (their mean) are multiplied with so many
    positions: one if that takes one thread less than `WORTH` seconds, about, else all.

    Measured on two quiet cores (`benchmarks/threads.py`, results/threads.json).
    """
    return most if weights * (READING + positions * PRODUCT) >= WORTH else 1


class Contention:
    """Whether other programs compute, learned from how long passes wait: the thread that begins one has no core then.

    After a pass that waited, the next `FIRST` have one thread, and twice as many after every pass of several threads
    that waited again. Passes of one thread that wait prolong it.
    """

    def __init__(self) -> None:
        self.left, self.next = 0, FIRST

    def count(self, most: int) -> int:
        """How many of `most` threads the pass that begins now should have."""
        return most if self.left == 0 else 1

    def learn(self, count: int, wall: float, computing: float) -> None:
        """From the seconds of a pass of `count` threads, and those in which the thread that began it had a core."""
        if wall - computing > max(LATE, wall * SHARE):
            self.left = self.next
            self.next = min(MOST, 2 * self.next) if count > 1 else self.next
        elif count > 1:
            self.next = max(FIRST, self.next // 2)
        else:
            self.left = max(0, self.left - 1)


_lock = Lock()
_held = {"inside": 0, "most": 1}  # how many work in `threads` now, and torch's own number outside
_contention = Contention()


@contextmanager
def threads(weights: int = 1 << 40, positions: int = 1) -> Iterator[None]:
    """Work with as many threads as `threads_for` says (by default: with all that torch is told to use), shared among
    all that work at once; with one where other programs take the cores (`Contention`).

    OMP_NUM_THREADS or MKL_NUM_THREADS in the environment is a person's own choice, and changes nothing here."""
    import torch

    if any(name in os.environ for name in COUNTS):
        yield
        return
    with _lock:  # torch has one number for all that begin to work: what it was before the first of them
        if not _held["inside"]:
            _held["most"] = torch.get_num_threads()
        _held["inside"] += 1
        most = _contention.count(max(1, _held["most"] // _held["inside"]))
    count = threads_for(weights, positions, most)
    wall, computing = time.perf_counter(), time.thread_time()
    try:
        torch.set_num_threads(count)
        yield
        _contention.learn(count, time.perf_counter() - wall, time.thread_time() - computing)
    finally:
        with _lock:
            _held["inside"] -= 1
            torch.set_num_threads(_held["most"])


def in_threads(steps: Iterator[Value]) -> Iterator[Value]:
    """The same steps, each worked out in `threads`."""
    while True:
        with threads():
            try:
                value = next(steps)
            except StopIteration:
                return
        yield value
