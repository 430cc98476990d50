"""Which pictures are held out: whole subjects, and single styles of subjects that are known in another style.

Source: defined here; each draw is a SHA-256 (FIPS 180-4) of the subject's code, whatever else is in the set.
"""

import hashlib
from collections.abc import Sequence

TRAIN, HELD_OUT_SUBJECT, HELD_OUT_PAIR = "train", "held_out_subject", "held_out_pair"

_SALT = "kiloword emoji 1"
_SUBJECTS, _PAIRS = 0.02, 0.05


def splits(base: str, styles: Sequence[str]) -> dict[str, str]:
    """{style: split} of one subject, for all its skin tones; at least one style stays in training unless none does.

    A held-out subject tests generalisation to new subjects, a held-out pair to new combinations of subject and style.
    """
    if _chance(base) < _SUBJECTS:
        return dict.fromkeys(styles, HELD_OUT_SUBJECT)
    chances = {style: _chance(base, style) for style in styles}
    kept = max(chances, key=lambda style: chances[style])
    return {style: HELD_OUT_PAIR if chances[style] < _PAIRS and style != kept else TRAIN for style in styles}


def _chance(*words: str) -> float:
    """A number in [0, 1) that depends on nothing but the words."""
    digest = hashlib.sha256("/".join((_SALT, *words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
