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

from kiloword.datasets.emoji.plan import FORMAT, Planned
from kiloword.datasets.emoji.sources import KEYWORDS, LABELS, STYLES
from kiloword.datasets.shards import replace_file

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


def summarize(rows: Sequence[dict[str, Any]], planned: Sequence[Planned], size: int, styles: Sequence[str]) -> Summary:
    """The summary of the metadata rows of a set, of what was planned for it."""

    def counts(field: str) -> dict[str, int]:
        return dict(sorted(Counter(row[field] for row in rows).items()))

    styles_of = Counter(row["code"] for row in rows)
    packages = (LABELS, KEYWORDS, *(STYLES[key].package for key in styles))
    present = {row["key"] for row in rows}
    return Summary(
        format=FORMAT,
        size=size,
        shards=len({row["shard"] for row in rows}),
        pictures=len(rows),
        codes=len(styles_of),
        codes_in_all_styles=sum(count == len(styles) for count in styles_of.values()),
        styles=counts("style"),
        groups=counts("group"),
        splits=counts("split"),
        sources={package.spec: package.license for package in packages},
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
    return path.exists() and json.loads(path.read_bytes())["shards"] == len(list(folder.glob("shard-*.tar")))


def warn_if_unexpected(summary: Summary) -> None:
    """Warn about styles that came out more than 5% larger or smaller than they should from these versions."""
    for key, pictures in summary.styles.items():
        expected = STYLES[key].pictures
        if abs(pictures - expected) > 0.05 * expected:
            warnings.warn(f"style {key} has {pictures} pictures, expected about {expected}", stacklevel=2)
