"""Allocator: memory that was freed stays with the program; to get it anew costs a training much of its time.

mallopt(3) of glibc; elsewhere nothing is done. Training emoji-64 on two cores: half of the system time is saved, and
a step takes a sixth to a fifth less.
"""

import ctypes
import sys
from contextlib import suppress

TRIM, MAPPED = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX
MOST = 2**31 - 1


def keep_freed() -> bool:
    """Give no memory back, and map none on its own; whether that could be asked for."""
    if sys.platform != "linux":
        return False
    with suppress(OSError, AttributeError):
        ask = ctypes.CDLL("libc.so.6").mallopt
        return bool(ask(TRIM, MOST) and ask(MAPPED, 0))
    return False
