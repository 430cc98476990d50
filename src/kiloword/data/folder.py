"""A folder of a user's own pictures, captioned by a metadata file or by the files' names.

Source: the imagefolder convention of Hugging Face datasets (`metadata.jsonl` or `metadata.csv` with `file_name`).
"""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kiloword.data.dataset import CAPTIONS, SUFFIXES, Sample, Skipped, fingerprint_of, refuse_rot
from kiloword.pictures import open_picture

LISTS = ("metadata.jsonl", "metadata.csv")

Record = dict[str, Any]


@dataclass(frozen=True)
class FolderDataset:
    """A folder of picture files: a `Dataset`."""

    path: Path

    def length(self) -> int | None:
        return len(_records(self.path))

    def fingerprint(self) -> str:
        lists = [self.path / name for name in LISTS if (self.path / name).exists()]
        return fingerprint_of(self.path, [*lists, *picture_files(self.path)])

    def read(self, skipped: Skipped | None = None) -> Iterator[Sample]:
        skipped, good = Skipped() if skipped is None else skipped, 0
        for sample in read(self.path, skipped):
            good += 1
            yield sample
        refuse_rot(self.path, skipped, good)


def picture_files(folder: Path) -> list[Path]:
    """All pictures below a folder, sorted, but for hidden ones."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.name[0] != ".")


def read(folder: Path, skipped: Skipped | None = None) -> Iterator[Sample]:
    """Every picture with its caption, one after the other; ValueError names the file or line that cannot be used.

    With `skipped`, a picture that cannot be used is noted there instead.

    With a metadata file: its lines in order, further fields kept as they are. Without: all pictures below the folder,
    sorted, "red_apple.png" captioned "red apple".
    """
    for record in _records(folder):
        name = record["file_name"]
        metadata = {field: value for field, value in record.items() if field not in ("file_name", *CAPTIONS)}
        caption = next(record[field] for field in CAPTIONS if record.get(field))
        try:
            picture = open_picture(folder / name)
        except ValueError as error:
            if skipped is None:
                raise
            skipped.note(name, error)
            continue
        yield Sample(name, picture, {**metadata, "key": name, "caption": caption})


def _records(folder: Path) -> list[Record]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: name the folder that holds your pictures")
    found = [folder / name for name in LISTS if (folder / name).exists()]
    if len(found) == 2:
        raise ValueError(f"{folder} holds both metadata.jsonl and metadata.csv: keep one of them")
    records = _listed_records(found[0]) if found else _named_records(folder)
    if not records:
        what = f"{found[0]} lists no pictures" if found else f"no pictures ({' '.join(SUFFIXES)}) below {folder}"
        raise ValueError(f"{what}: add some, or name another folder")
    return records


def _named_records(folder: Path) -> list[Record]:
    paths = picture_files(folder)
    return [{"file_name": path.relative_to(folder).as_posix(), "text": _caption_of(path)} for path in paths]


def _caption_of(path: Path) -> str:
    caption = " ".join(re.split(r"[_\-\s]+", path.stem)).strip()
    if not caption:
        raise ValueError(f"{path} has no words in its name to caption it: rename it, or write a metadata.jsonl")
    return caption


def _listed_records(path: Path) -> list[Record]:
    records = []
    for number, record in _lines(path):
        if not isinstance(record, dict) or not record.get("file_name"):
            raise ValueError(f'{path}, line {number} has no "file_name": write one, relative to {path.parent}')
        if not any(record.get(field) for field in CAPTIONS):
            raise ValueError(
                f'{path}, line {number} ({record["file_name"]}) has no caption: fill in "text" or "caption"'
            )
        records.append(record)
    return records


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".csv":
            reader = csv.DictReader(file)
            yield from ((reader.line_num, row) for row in reader)
            return
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number} is not JSON ({error}): one object a line") from None
