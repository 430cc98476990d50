"""kiloword: native image generation. Pictures become tokens, one transformer models text and pictures in one stream.

The names below are imported when they are first used, so that `kiloword --help` need not wait for torch (PEP 562).
OpenMP threads are set to spin only briefly while they wait, which works only before torch is loaded
(`engine/cpu/threads.py`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kiloword.engine.cpu.threads import wait_briefly

if TYPE_CHECKING:
    from kiloword.checkpoint import load, pull, save
    from kiloword.decoders.decoder import Effort
    from kiloword.engine.card import Card
    from kiloword.engine.painter import Painter, Preview
    from kiloword.engine.request import Request
    from kiloword.heads.head import Sampling
    from kiloword.published.diffusers_decoders import open_decoder

__all__ = ["Card", "Effort", "Painter", "Preview", "Request", "Sampling", "load", "open_decoder", "pull", "save"]
__version__ = "0.1.0"

_HOMES = {
    "kiloword.checkpoint": ("load", "pull", "save"),
    "kiloword.decoders.decoder": ("Effort",),
    "kiloword.engine.card": ("Card",),
    "kiloword.engine.painter": ("Painter", "Preview"),
    "kiloword.engine.request": ("Request",),
    "kiloword.heads.head": ("Sampling",),
    "kiloword.published.diffusers_decoders": ("open_decoder",),
}

wait_briefly()


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'kiloword' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
