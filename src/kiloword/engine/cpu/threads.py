"""Threads: how many a step is worth, and how they wait for each other on a machine that is never ours alone.

OpenMP's threads spin while they wait (GNU libgomp manual, GOMP_SPINCOUNT). Beside a busy program the one that is waited
for often has no core, and then every product takes a slice of the scheduler's, milliseconds in place of microseconds.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

WAITING = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}  # the standard's word, and what LLVM's runtime asks for
SPINNING = "GOMP_SPINCOUNT"  # GNU's runtime: the wheels for Linux
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
READING, PRODUCT = 2e-10, 2e-11  # seconds of one thread, about, to read a weight and to multiply it
WORTH = 300e-6  # seconds that a product takes one thread from which on others are woken for it

_lock = Lock()
_held = {"inside": 0, "most": 1}  # how many work in `threads` now, and torch's own number outside


def wait_without_spinning() -> None:
    """Let OpenMP's threads sleep while they wait, unless the environment says how they are to wait.

    It is read once, when torch is loaded: `import kiloword` and the command come before that, and processes that they
    start inherit it. Where torch was loaded before, its threads go on spinning, and what can still be chosen is their
    number (`threads_for`): the smallest steps, of which there are most, have one, and wait for nobody.
    """
    if not any(name in os.environ for name in (*WAITING, SPINNING)):
        os.environ.update(WAITING)


def threads_for(weights: int, positions: int, most: int) -> int:
    """How many of `most` threads to use where matrices of `weights` numbers (their mean) are multiplied with so many
    positions: one if that takes one thread less than `WORTH` seconds, about, else all.

    Measured on two cores with other programs beside it (`benchmarks/threads.py`, results/threads.json): waiting
    passively, a second thread makes a step of one position 1.9 times as long with 0.44 M weights, 1.1 to 1.2 times
    with 0.79 M to 3.1 M, and loses nothing with two positions and 3.1 M. Spinning,
    steps of two positions take it 10 to 23 times as long. On a quiet machine the rule costs: a drawing of the shipped
    model takes 1.3 times as long as with two spinning threads (`benchmarks/busy.py`).
    """
    return most if weights * (READING + positions * PRODUCT) >= WORTH else 1


@contextmanager
def threads(weights: int, positions: int) -> Iterator[None]:
    """Work with as many threads as `threads_for` says, of those that torch is told to use. OMP_NUM_THREADS or
    MKL_NUM_THREADS in the environment is a person's own choice, and changes nothing here."""
    import torch

    if any(name in os.environ for name in COUNTS):
        yield
        return
    with _lock:  # torch has one number for all that begin to work: what it was before the first of them
        if not _held["inside"]:
            _held["most"] = torch.get_num_threads()
        _held["inside"] += 1
    try:
        torch.set_num_threads(threads_for(weights, positions, _held["most"]))
        yield
    finally:
        with _lock:
            _held["inside"] -= 1
            torch.set_num_threads(_held["most"])
