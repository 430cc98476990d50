"""Names of what a study compares, some of which may be chosen."""

from collections.abc import Sequence
from difflib import get_close_matches


def check_known(names: Sequence[str], known: Sequence[str], what: str) -> None:
    """Raise ValueError for a name that is not known, with the nearest one, and for none at all."""
    if not names:
        raise ValueError(f"--only names no {what}: choose from {', '.join(known)}")
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"the study has no {what} {name!r}{hint} (there are {', '.join(known)})")
