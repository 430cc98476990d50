"""Stopping together: where several processes train, Ctrl-C in one stops all of them after the same iteration.

Source: defined here; as in the signal handlers of torch elastic, SIGTERM counts as Ctrl-C.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor


@contextmanager
def agreed_stop(fabric: Fabric) -> Iterator[Callable[[], bool]]:
    """A function that all processes call after every iteration, equal in all of them: whether to stop.

    In a single process it is always False: there Ctrl-C acts at once, as usual.
    """
    if fabric.world_size == 1:
        yield lambda: False
        return
    pressed = threading.Event()

    def anywhere() -> bool:
        here = torch.tensor(float(pressed.is_set()), device=fabric.device)
        return bool(cast(Tensor, fabric.all_reduce(here, reduce_op="max")) > 0)

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, lambda *_: pressed.set())
    try:
        yield anywhere
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
