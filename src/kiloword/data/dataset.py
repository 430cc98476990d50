"""The law of datasets: pictures with captions, from any source, read as a stream.

Source: defined here; each kind in this folder cites the convention that it reads.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from PIL import Image

CAPTIONS = ("text", "caption")  # the fields that may hold one; the first that is filled counts
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")  # of picture files
SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
TOLERANCE = 0.01  # share of the samples that may be skipped
NAMED = 5  # skipped samples that a message names


@dataclass(frozen=True)
class Sample:
    """One picture (RGBA, straight alpha) and what is known about it: metadata["caption"], and whatever else there is.

    The key is the same whenever the data set is read. metadata["split"], if present, is "train" for pictures
    that are to be learned from, anything else for those held out.
    """

    key: str
    picture: Image.Image
    metadata: dict[str, Any]


@runtime_checkable
class Dataset(Protocol):
    """A source of pictures with captions.

    Example: `for sample in open_dataset(Path("my-pictures")).read(): print(sample.key, sample.metadata["caption"])`
    """

    @property
    def path(self) -> Path: ...

    def length(self) -> int | None:
        """How many samples there are, damaged ones among them; None if unknown without reading."""
        ...

    def fingerprint(self) -> str:
        """Changes when the files do: a digest of their names, sizes and times of change."""
        ...

    def read(self, skipped: "Skipped | None" = None) -> Iterator[Sample]:
        """Every sample, in the same order whenever it is read; what is damaged is skipped and noted in `skipped`.

        Raises ValueError, at the end, if more than 1% of the samples were damaged, and names some of them.
        """
        ...


@dataclass
class Skipped:
    """What was left out while reading: name and reason."""

    reasons: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.reasons)

    def note(self, name: str, reason: object) -> None:
        self.reasons[name] = " ".join(str(reason).split())

    def said(self) -> str:
        """How many, and the first of them by name: "2 skipped: a.png (it is empty), b.png (..)"."""
        named = [f"{name} ({reason})" for name, reason in list(self.reasons.items())[:NAMED]]
        more = [f"and {len(self) - NAMED} more"] if len(self) > NAMED else []
        return f"{len(self)} skipped: {', '.join([*named, *more])}"


def refuse_rot(path: Path, skipped: Skipped, good: int) -> None:
    """Raise ValueError for a data set of which more than a little is damaged, or in which nothing is left."""
    if not good and not skipped:
        raise ValueError(f"{path} holds no pictures with captions: add some, or name another folder")
    if len(skipped) > TOLERANCE * (len(skipped) + good):
        raise ValueError(
            f"{len(skipped)} of {len(skipped) + good} samples in {path} cannot be used (at most {TOLERANCE:.0%} may "
            f"be); {skipped.said()}: mend or remove them"
        )


def caption_in(metadata: dict[str, Any]) -> str:
    """The caption among the fields. Raises ValueError if there is none."""
    found = next((metadata[name] for name in CAPTIONS if metadata.get(name)), None)
    if not isinstance(found, str) or not found.strip():
        raise ValueError(f"no caption: fill in {' or '.join(repr(name) for name in CAPTIONS)}")
    return found


def split_of(file: Path, root: Path) -> str | None:
    """The split in the name of a file, or of its folder below the root: "train-00000.parquet", "test/0.tar"."""
    names = [file.name] if file.parent == root or file == root else [file.name, file.parent.name]
    for name in names:
        word = name.lower().replace(".", "-").replace("_", "-").split("-")[0]
        if word in SPLITS:
            return SPLITS[word]
    return None


def fingerprint_of(root: Path, files: Iterable[Path]) -> str:
    """A digest of names, sizes and times of change: it is found without reading the files."""
    facts = [(path.relative_to(root).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return sha256(repr(facts).encode()).hexdigest()
