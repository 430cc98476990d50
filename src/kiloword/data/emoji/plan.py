"""The plan of the emoji set: every picture to render, with its metadata, in its final order and shard.

Source: defined here; the parts come from `artwork`, `subjects` and `split`.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kiloword.data.emoji.artwork import drawings
from kiloword.data.emoji.sources import KEYWORDS, LABELS, STYLES, Package
from kiloword.data.emoji.split import splits
from kiloword.data.emoji.subjects import subjects
from kiloword.data.shards import shard_name

Fetch = Callable[[Package, Path], Path]

FORMAT = 1  # rises when the same packages would give other pictures or metadata
PER_SHARD = 500
_COUNTRIES = ("country-flag", "subdivision-flag")


@dataclass(frozen=True)
class Planned:
    """One picture to render."""

    drawing: bytes
    metadata: dict[str, Any]


def plan(styles: Sequence[str], cache: Path, fetch: Fetch) -> list[Planned]:
    """All pictures of these styles by (code, style); the first of equal drawings stands for all of them."""
    known = subjects(fetch(LABELS, cache), fetch(KEYWORDS, cache))
    art = {key: drawings(STYLES[key], fetch(STYLES[key].package, cache)) for key in styles}
    wanted, seen = [], set()
    for code, style in sorted((code, style) for style, codes in art.items() for code in codes):
        drawing = art[style][code]
        if code in known and _is_own(style, known[code]["subgroup"]) and drawing not in seen:
            seen.add(drawing)
            wanted.append((code, style))
    split = _split_of([(known[code]["base"], style) for code, style in wanted])
    return [
        Planned(art[style][code], _metadata(known[code], style, split, number))
        for number, (code, style) in enumerate(wanted)
    ]


def fingerprint(planned: Sequence[Planned], size: int) -> str:
    """A digest of all that a build is made from: equal fingerprints give equal pictures."""
    digest = hashlib.sha256(f"{FORMAT} {size}".encode())
    for picture in planned:
        digest.update(json.dumps(picture.metadata).encode())
        digest.update(hashlib.sha256(picture.drawing).digest())
    return digest.hexdigest()


def _is_own(style: str, subgroup: str) -> bool:
    return STYLES[style].own_flags or subgroup not in _COUNTRIES


def _split_of(pairs: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    styles_of = defaultdict(set)
    for base, style in pairs:
        styles_of[base].add(style)
    return {
        (base, style): split
        for base, styles in styles_of.items()
        for style, split in splits(base, sorted(styles)).items()
    }


def _metadata(subject: dict[str, Any], style: str, split: dict[tuple[str, str], str], number: int) -> dict[str, Any]:
    package = STYLES[style].package
    return {
        "key": f"{subject['code']}-{style}",
        **subject,
        "style": style,
        "source": package.spec,
        "license": package.license,
        "shard": shard_name(number // PER_SHARD),
        "split": split[subject["base"], style],
    }
