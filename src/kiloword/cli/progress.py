"""How far a long command is, on stderr: a bar on a terminal, elsewhere a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kiloword.cli.messages import say
from kiloword.cli.stop import check

EVERY = 30.0  # seconds between two lines

Report = Callable[[str, int, int | None, dict[str, float]], None]


@contextmanager
def progress() -> Iterator[Report]:
    """A function `report(what, done, total, figures)`: "pictures drawn", 3, 10, {} is 3 of 10 pictures drawn."""
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[figures]}"), bars.TimeElapsedColumn(), bars.TimeRemainingColumn(),
    )  # fmt: skip
    with bars.Progress(*columns, console=console) as bar:
        tasks: dict[str, bars.TaskID] = {}

        def report(what: str, done: int, total: int | None, figures: dict[str, float]) -> None:
            check()
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=None, figures="")
            bar.update(tasks[what], completed=done, total=total, figures=_formatted(figures))

        yield report


class _Lines:
    """One line every half minute, with rate and time left."""

    def __init__(self):
        self.what, self.first, self.started, self.last = "", 0, 0.0, time.monotonic()

    def __call__(self, what: str, done: int, total: int | None, figures: dict[str, float]) -> None:
        check()
        now = time.monotonic()
        if what != self.what:
            self.what, self.first, self.started = what, done, now
        if now - self.last < EVERY or now == self.started:
            return
        self.last = now
        rate = (done - self.first) / (now - self.started)
        left = f", {(total - done) / rate / 60:.1f} minutes left" if total and rate else ""
        say(f"{done:,}{f' of {total:,}' if total else ''} {what}, {rate:.3g} a second{left} {_formatted(figures)}")


def _formatted(figures: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in figures.items())
