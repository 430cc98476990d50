"""Two processes on this machine that train together, as `torchrun --nproc-per-node 2` would start them."""

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def started(command: Sequence[str], **settings) -> Iterator[list[subprocess.Popen]]:
    """Both processes, the first one first; what is left of them at the end is killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": paths}
    shared |= {"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    both = [subprocess.Popen(command, env={**shared, "RANK": r, "LOCAL_RANK": r}, **settings) for r in "01"]
    try:
        yield both
    finally:
        for process in both:
            process.kill()
