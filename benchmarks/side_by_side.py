"""Timing side by side: rivals take turns, so that a busy machine slows them alike, and medians are compared."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch


def arguments(about: str, rounds: int) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of each rival; medians are reported")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch and NumPy")
    parser.add_argument("--cpu", action="store_true", help="count processor time: for a busy machine, with one thread")
    parser.add_argument("--json", action="store_true", help="one JSON line on stdout in place of the tables")
    return parser


def use_threads(count: int) -> None:
    """Let all products, PyTorch's and NumPy's, use so many threads."""
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    threadpool_limits(count, user_api="blas")


def take_turns(rivals: dict[str, Callable[[], object]], rounds: int, cpu: bool = False) -> dict[str, float]:
    """The median seconds of each rival over `rounds` turns, after one turn that does not count.

    Who is first in one turn is last in the next: the first finds the processor's caches as the others left them.

    `cpu` counts processor time instead, which says more when other programs hold the machine.
    """
    clock = time.process_time if cpu else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(rounds + 1):
        for name, rival in list(rivals.items())[:: -1 if turn % 2 else 1]:
            started = clock()
            rival()
            if turn:
                seconds[name].append(clock() - started)
        print(f"\rround {turn} of {rounds}", end="\n" if turn == rounds else "", file=sys.stderr, flush=True)
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A title and columns, the first one to the left and the others to the right."""
    cells = [list(map(str, head)), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]  # fmt: skip
    return "\n".join([title, *lines, ""])


def show(options: argparse.Namespace, figures: dict, tables: Sequence[str]) -> None:
    """Print what was measured, for a person or for a program."""
    print(json.dumps(figures) if options.json else "\n".join(tables))


def bandwidth(rounds: int = 15) -> float:
    """Bytes a second of a matrix-vector product whose matrix (256 MB of float32) is far larger than any cache, by
    PyTorch or NumPy, whichever reads faster here."""
    matrix, vector = torch.ones(8192, 8192), torch.ones(8192)
    rows, row = matrix.numpy(), vector.numpy()
    products = [lambda: torch.mv(matrix, vector), lambda: np.dot(rows.T, row)]
    seconds = []
    for product in products:
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            product()
            times.append(time.perf_counter() - started)
        seconds.append(statistics.median(times))
    return matrix.nbytes / min(seconds)


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 100 else (
        f"{value:.0f}" if isinstance(value, float) else str(value)
    )  # fmt: skip
