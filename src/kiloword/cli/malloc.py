"""glibc's allocator: freed memory stays with the process, as returning it and mapping it again slows training.

mallopt(3); with other allocators nothing is done. Training emoji-64 on two cores: half of the system time is saved, and
an iteration takes a sixth to a fifth less time.
"""

import ctypes
import sys
from contextlib import suppress

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX
MAX_INT = 2**31 - 1


def keep_freed() -> bool:
    """Return no freed memory to the system; True if the allocator accepted both settings."""
    if sys.platform != "linux":
        return False
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        return bool(mallopt(TRIM_THRESHOLD, MAX_INT) and mallopt(MMAP_MAX, 0))
    return False
