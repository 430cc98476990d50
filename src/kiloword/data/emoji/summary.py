"""What a finished emoji set holds, as numbers: written last, so its presence says that the set is complete.

Source: defined here.
"""

import json
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kiloword.data.emoji.plan import FORMAT, Planned
from kiloword.data.emoji.sources import KEYWORDS, LABELS, STYLES
from kiloword.data.shards import METADATA, replace_file

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Summary:
    """Counts of pictures; `left_out` names those that were planned but failed, were blank, or repeated another."""

    format: int
    size: int
    shards: int
    pictures: int
    codes: int
    codes_in_all_styles: int
    styles: dict[str, int]
    groups: dict[str, int]
    splits: dict[str, int]
    sources: dict[str, str]  # package and version: licence
    left_out: list[str]


def summarize(
    pictures: Sequence[dict[str, Any]], planned: Sequence[Planned], size: int, styles: Sequence[str]
) -> Summary:
    """The summary of a set, from the metadata of its pictures and what was planned for it."""

    def counts(field: str) -> dict[str, int]:
        return dict(sorted(Counter(record[field] for record in pictures).items()))

    styles_of = Counter(record["code"] for record in pictures)
    present = {record["key"] for record in pictures}
    return Summary(
        format=FORMAT,
        size=size,
        shards=len({record["shard"] for record in pictures}),
        pictures=len(pictures),
        codes=len(styles_of),
        codes_in_all_styles=sum(count == len(styles) for count in styles_of.values()),
        styles=counts("style"),
        groups=counts("group"),
        splits=counts("split"),
        sources=_sources(styles),
        left_out=[picture.metadata["key"] for picture in planned if picture.metadata["key"] not in present],
    )


def write_summary(folder: Path, summary: Summary) -> None:
    replace_file(folder / SUMMARY, json.dumps(asdict(summary), ensure_ascii=False, indent=1).encode())


def load_summary(folder: Path) -> Summary:
    """The summary of a complete set."""
    if not complete(folder):
        raise ValueError(f"no complete emoji set in {folder}: build it, or build again to go on")
    return Summary(**json.loads((folder / SUMMARY).read_bytes()))


def complete(folder: Path) -> bool:
    """Whether a build in this folder has come to its end and all its shards are still there."""
    path = folder / SUMMARY
    return path.exists() and json.loads(path.read_bytes()).get("shards") == len(list(folder.glob("shard-*.tar")))


def check_expected(folder: Path, size: int, styles: Sequence[str]) -> None:
    """Raise ValueError if a complete set is not the one that would be built today, by what is recorded beside it."""
    found = json.loads((folder / SUMMARY).read_bytes())
    with open(folder / METADATA, "rb") as lines:
        pictures = sum(1 for _ in lines)
    expected = {"format": FORMAT, "size": size, "pictures": pictures, "sources": _sources(styles)}
    pairs = [(name, found.get(name), value) for name, value in expected.items()]
    wrong = [f"{name} {there}, expected {value}" for name, there, value in pairs if there != value]
    if wrong:
        raise ValueError(f"{folder} holds another emoji set ({'; '.join(wrong)}): delete it, and it is built anew")


def _sources(styles: Sequence[str]) -> dict[str, str]:
    return {package.spec: package.license for package in (LABELS, KEYWORDS, *(STYLES[key].package for key in styles))}


def warn_if_unexpected(summary: Summary) -> None:
    """Warn about styles that came out more than 5% larger or smaller than they should from these versions."""
    for key, pictures in summary.styles.items():
        expected = STYLES[key].pictures
        if abs(pictures - expected) > 0.05 * expected:
            warnings.warn(f"style {key} has {pictures} pictures, expected about {expected}", stacklevel=2)
