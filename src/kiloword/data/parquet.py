"""Parquet files as the Hugging Face Hub keeps pictures: a column of pictures, one of captions, a few rows at a time.

Source: the Image feature of Hugging Face datasets (struct{bytes, path}) and Apache Parquet, read with pyarrow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kiloword.data.dataset import CAPTIONS, Sample, Skipped, caption_in, fingerprint_of, refuse_rot, split_of
from kiloword.pictures import open_picture

if TYPE_CHECKING:
    from pyarrow import DataType, Schema

PICTURES = ("image", "img", "picture", "jpg", "png", "webp")  # what their column is usually called, best first
AT_ONCE = 32  # rows that are read together


@dataclass(frozen=True)
class ParquetDataset:
    """The parquet files of a folder, or one of them: a `Dataset`. Needs pyarrow."""

    path: Path

    @property
    def files(self) -> list[Path]:
        return [self.path] if self.path.is_file() else sorted(self.path.rglob("*.parquet"))

    def length(self) -> int | None:
        from pyarrow.parquet import read_metadata

        return sum(read_metadata(file).num_rows for file in self.files)

    def fingerprint(self) -> str:
        return fingerprint_of(self.path.parent, self.files)

    def read(self, skipped: Skipped | None = None) -> Iterator[Sample]:
        """Raises ValueError for a file without a column of pictures or of captions."""
        skipped, good = Skipped() if skipped is None else skipped, 0
        for file in self.files:
            for key, row, picture in _rows(file):
                try:
                    sample = self._sample(file, key, row, picture)
                except ValueError as error:
                    skipped.note(key, error)
                    continue
                good += 1
                yield sample
        refuse_rot(self.path, skipped, good)

    def _sample(self, file: Path, key: str, row: dict[str, Any], picture: Any) -> Sample:
        content, name = (picture.get("bytes"), picture.get("path")) if isinstance(picture, dict) else (picture, None)
        if content is None and not name:
            raise ValueError("no picture in this row")
        opened = open_picture(Path(key), content) if content is not None else open_picture(file.parent / str(name))
        split = split_of(file, self.path)
        kept = {field: value for field, value in row.items() if field not in CAPTIONS}
        split_field = {"split": split} if split else {}
        return Sample(key, opened, {**split_field, **kept, "key": key, "caption": caption_in(row)})


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Key, fields and picture of every row."""
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        opened = ParquetFile(file)
    except ArrowInvalid as error:
        raise ValueError(f"{file} is not a whole parquet file ({error}): fetch it again") from None
    with opened as parquet:
        pictures, others = _columns(file, parquet.schema_arrow)
        number = 0
        for batch in parquet.iter_batches(AT_ONCE, columns=[pictures, *others]):
            for row in batch.to_pylist():
                yield f"{file.stem}/{number:06d}", row, row.pop(pictures)
                number += 1


def _columns(file: Path, schema: "Schema") -> tuple[str, list[str]]:
    """The column of pictures, and the others that are worth keeping: texts, numbers and truth values."""
    from pyarrow import types

    kinds = {field.name: field.type for field in schema}
    pictures = sorted((name for name, kind in kinds.items() if _holds_pictures(kind)), key=_rank)
    captions = [name for name in CAPTIONS if name in kinds]
    if not pictures or not captions:
        lacking = "pictures (struct{bytes, path} or binary)" if not pictures else "captions"
        has = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        raise ValueError(f"{file} has no {lacking}; it has {has}: call the column of captions {' or '.join(CAPTIONS)}")

    def plain(kind: "DataType") -> bool:
        whole = types.is_integer(kind) or types.is_boolean(kind) or types.is_floating(kind)
        return whole or types.is_string(kind) or types.is_large_string(kind)

    return pictures[0], [name for name, kind in kinds.items() if plain(kind)]


def _holds_pictures(kind: "DataType") -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return types.is_binary(kind) or types.is_large_binary(kind)


def _rank(name: str) -> int:
    return PICTURES.index(name.lower()) if name.lower() in PICTURES else len(PICTURES)
