"""The nearest of the names that are known, for errors about one that is not (Ratcliff and Metzener 1988)."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What goes on an error, as in "; did you mean 'that'?"; nothing if no known name is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else ""
