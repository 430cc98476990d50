"""The user's cache folder, and the emoji set in it, built when it is first needed.

Source: defined here; `$KILOWORD_CACHE`, or `~/.cache/kiloword` as in the XDG base directory specification.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from kiloword.data.emoji import npm
from kiloword.data.emoji.build import build
from kiloword.data.emoji.plan import Fetch
from kiloword.data.emoji.sources import STYLES
from kiloword.data.emoji.summary import check_expected, complete


def cache_dir() -> Path:
    """The folder for what can be made again: fetched packages, built data sets."""
    return Path(os.environ.get("KILOWORD_CACHE") or "~/.cache/kiloword").expanduser()


def ensure_emoji(
    cache: Path | None = None,
    *,
    size: int = 128,
    styles: Sequence[str] = tuple(STYLES),
    fetch: Fetch = npm.fetch,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The folder of the whole emoji set in the cache; what is not there yet is built, as `build` does.

    Raises ValueError if a finished set of other settings or packages lies there.
    """
    cache = cache_dir() if cache is None else cache
    folder = cache / "data" / "emoji"
    if not complete(folder):
        build(
            folder, size=size, styles=styles, cache=cache / "npm", fetch=fetch, workers=workers, progress=progress
        )  # fmt: skip
    check_expected(folder, size, styles)
    return folder
