"""Names of what a study compares, some of which may be chosen."""

from collections.abc import Sequence

from kiloword.nearest import did_you_mean


def check_chosen(names: Sequence[str], known: Sequence[str], what: str) -> None:
    """Raise ValueError for a name that is not known, with the nearest one, and for none at all."""
    if not names:
        raise ValueError(f"--only names no {what}: choose from {', '.join(known)}")
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"the study has no {what} {name!r}{hint} (there are {', '.join(known)})")
