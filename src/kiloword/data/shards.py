"""Tar shards of pictures with their metadata: written whole or not at all, read as a stream.

Source: Aizman, Maltby, Breuel 2019, "High Performance I/O for Large Scale Deep Learning" (the webdataset convention).

A sample is neighbouring members of one tar file: a picture, `KEY.png` or `KEY.jpg`, and `KEY.json` or `KEY.txt`, which
hold its caption. Beside the shards that are written here lies `metadata.jsonl`, one line a picture, so that captions
and splits can be read without opening a picture.
"""

import errno
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from kiloword.data.dataset import (
    CAPTIONS,
    SUFFIXES,
    TOLERANCE,
    Sample,
    Skipped,
    caption_in,
    fingerprint_of,
    split_of,
)
from kiloword.pictures import open_picture

METADATA = "metadata.jsonl"


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.tar"


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a folder in their order; a folder without any is an error."""
    paths = sorted(folder.glob("shard-*.tar"))
    if not paths:
        raise ValueError(f"no shard-*.tar in {folder}: build the data set first, or name the folder it was built in")
    return paths


def replace_file(path: Path, content: bytes) -> None:
    """Put content at path in one step: whoever reads it sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            need = f"{path} needs {len(content):,} bytes"
            raise OSError(error.errno, f"the disk is full, {need}: free space there and run again to go on") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_shard(path: Path, samples: Iterable[tuple[str, bytes, dict[str, Any]]]) -> None:
    """Write samples (key, PNG file, metadata) in the given order; equal samples give equal bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for key, png, metadata in samples:
            for name, content in ((f"{key}.png", png), (f"{key}.json", _json(metadata))):
                member = tarfile.TarInfo(name)  # mtime, uid and gid are 0 by default
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    replace_file(path, buffer.getvalue())


def write_metadata(folder: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write metadata.jsonl, one line a picture."""
    replace_file(folder / METADATA, b"".join(_json(record) + b"\n" for record in records))


def load_metadata(folder: Path) -> list[dict[str, Any]]:
    """The metadata of every picture, in the order of the shards."""
    path = folder / METADATA
    if not path.exists():
        raise ValueError(f"no {METADATA} in {folder}: the build has not finished, run it again to go on")
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def members(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of one shard as (key, {suffix: content}), undecoded; tarfile.ReadError where the shard breaks off.

    A key is a member's name up to the first dot after its folders.
    """
    with tarfile.open(path, "r:") as archive:
        key, parts = "", {}
        for member in archive:
            if not member.isfile():
                continue
            folder, slash, name = member.name.rpartition("/")
            base, _, suffix = name.partition(".")
            stem = f"{folder}{slash}{base}"
            if parts and stem != key:
                yield key, parts
                parts = {}
            file = archive.extractfile(member)
            content = file.read() if file else b""
            if len(content) != member.size:
                raise tarfile.ReadError(f"{member.name} is cut off")
            key, parts[suffix.lower()] = stem, content
        if parts:
            yield key, parts
        file = cast(BinaryIO, archive.fileobj)
        file.seek(archive.offset)  # tarfile takes any broken header for the end; the true end is a block of zeros
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"{path} breaks off after {archive.offset:,} bytes")


@dataclass(frozen=True)
class ShardDataset:
    """The tar files of a folder, or one of them: a `Dataset`."""

    path: Path

    def length(self) -> int | None:
        listed = self.path / METADATA
        if not listed.exists():
            return None
        with open(listed, "rb") as lines:
            return sum(1 for _ in lines)

    @property
    def files(self) -> list[Path]:
        return [self.path] if self.path.is_file() else sorted(self.path.rglob("*.tar"))

    def fingerprint(self) -> str:
        return fingerprint_of(self.path.parent, self.files)

    def read(self, skipped: Skipped | None = None) -> Iterator[Sample]:
        return read(self.path, paths=self.files, named=skipped)


def read(
    folder: Path, *, sample_tolerance: float = TOLERANCE, shard_tolerance: float = 0.05,
    skipped: Counter[str] | None = None, named: Skipped | None = None, paths: list[Path] | None = None,
) -> Iterator[Sample]:  # fmt: skip
    """Stream every sample, shard after shard; what is damaged is skipped, counted in `skipped` and noted in `named`.

    `skipped["samples"]` counts pictures or metadata that do not decode, `skipped["shards"]` shards that break off (the
    samples before the break are given). ValueError, at the end, when more than 1% of the samples or 5% of the shards
    were damaged: a little rot costs nothing, much of it is another data set.
    """
    skipped, named = Counter() if skipped is None else skipped, Skipped() if named is None else named
    before = skipped.copy()
    paths = shard_paths(folder) if paths is None else paths
    good = 0
    for path in paths:
        split = split_of(path, folder)
        try:
            for key, parts in members(path):
                try:
                    sample = _decode(key, parts, split)
                except ValueError as error:
                    skipped["samples"] += 1
                    named.note(f"{path.name}/{key}", error)
                    continue
                good += 1
                yield sample
        except (tarfile.TarError, OSError) as error:
            skipped["shards"] += 1
            named.note(path.name, error)
    bad, broken = (skipped[what] - before[what] for what in ("samples", "shards"))
    _refuse_rot(folder, "samples", bad, good, sample_tolerance, named)
    _refuse_rot(folder, "shards", broken, len(paths) - broken, shard_tolerance, named)


def _decode(key: str, parts: dict[str, bytes], split: str | None) -> Sample:
    suffix = next((suffix for suffix in parts if f".{suffix}" in SUFFIXES), None)
    if suffix is None:
        raise ValueError(f"no picture among {', '.join(parts)}")
    metadata = json.loads(parts["json"]) if "json" in parts else {}
    if not isinstance(metadata, dict):
        raise ValueError("the metadata is not a JSON object")
    if "txt" in parts:
        metadata = {**metadata, "text": parts["txt"].decode().strip()}
    caption, split_field = caption_in(metadata), {"split": split} if split else {}
    picture = open_picture(Path(f"{key}.{suffix}"), parts[suffix])
    kept = {name: value for name, value in metadata.items() if name not in CAPTIONS}
    return Sample(key, picture, {**split_field, **kept, "key": key, "caption": caption})


def _refuse_rot(folder: Path, what: str, bad: int, good: int, tolerance: float, named: Skipped) -> None:
    if bad > tolerance * (bad + good):
        raise ValueError(
            f"{bad} of {bad + good} {what} in {folder} are damaged (at most {tolerance:.0%} may be): "
            f"delete the damaged shards and build again, only they are made anew; {named.said()}"
        )


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
