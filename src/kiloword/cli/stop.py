"""Ctrl-C, recorded, so that it is not lost where a library catches every exception.

Python's own handler raises KeyboardInterrupt once, and an import or a callback may swallow it (PEP 475 leaves it so).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PRESSED = threading.Event()


@contextmanager
def remember_ctrl_c() -> Iterator[None]:
    """Remember Ctrl-C until the end of a command; a process that was started with it ignored keeps ignoring it."""
    PRESSED.clear()
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def check() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed before; long commands call this wherever they can stop."""
    if PRESSED.is_set():
        raise KeyboardInterrupt


def _press(number: int, frame: object) -> None:
    PRESSED.set()
    raise KeyboardInterrupt
