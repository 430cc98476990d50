"""The known name most similar to an unknown one, for error messages (Ratcliff and Metzener 1988)."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message, as in "; did you mean 'that'?"; "" if no known name is similar."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
