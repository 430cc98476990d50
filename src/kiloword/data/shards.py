"""Tar shards of pictures with their metadata: written whole or not at all, read as a stream.

Source: Aizman, Maltby, Breuel 2019, "High Performance I/O for Large Scale Deep Learning" (the webdataset convention).

A sample is two neighbouring members of one tar file, `KEY.png` and `KEY.json`. Beside the shards lies `metadata.jsonl`,
one line a picture, so that captions and splits can be read without opening a picture.
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

from PIL import Image

METADATA = "metadata.jsonl"


@dataclass(frozen=True)
class Sample:
    """One picture (RGBA, straight alpha) and what is known about it."""

    key: str
    picture: Image.Image
    metadata: dict[str, Any]


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.tar"


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a folder in their order; a folder without any is an error."""
    paths = sorted(folder.glob("shard-*.tar"))
    if not paths:
        raise ValueError(f"no shard-*.tar in {folder}: build the data set first, or name the folder it was built in")
    return paths


def replace_file(path: Path, content: bytes) -> None:
    """Put content at path in one step: a reader sees the old file or the new one, never a part."""
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
            raise OSError(error.errno, f"the disk is full, {need}: make room there and run again to go on") from None
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


def write_metadata(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write metadata.jsonl, one line a picture."""
    replace_file(folder / METADATA, b"".join(_json(row) + b"\n" for row in rows))


def load_metadata(folder: Path) -> list[dict[str, Any]]:
    """The metadata of every picture, in the order of the shards."""
    path = folder / METADATA
    if not path.exists():
        raise ValueError(f"no {METADATA} in {folder}: the build has not finished, run it again to go on")
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def members(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of one shard as (key, {suffix: content}), undecoded; tarfile.ReadError where the shard breaks off."""
    with tarfile.open(path, "r:") as archive:
        key, parts = "", {}
        for member in archive:
            stem, _, suffix = member.name.rpartition(".")
            if parts and stem != key:
                yield key, parts
                parts = {}
            file = archive.extractfile(member)
            content = file.read() if file else b""
            if len(content) != member.size:
                raise tarfile.ReadError(f"{member.name} is cut off")
            key, parts[suffix] = stem, content
        if parts:
            yield key, parts
        file = cast(BinaryIO, archive.fileobj)
        file.seek(archive.offset)  # tarfile takes any broken header for the end; the true end is a block of zeros
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"{path} breaks off after {archive.offset:,} bytes")


def read(
    folder: Path, *, sample_tolerance: float = 0.01, shard_tolerance: float = 0.05, skipped: Counter[str] | None = None
) -> Iterator[Sample]:
    """Stream every sample, shard after shard; what is damaged is skipped and counted in `skipped`.

    `skipped["samples"]` counts pictures or metadata that do not decode, `skipped["shards"]` shards that break off (the
    samples before the break are given). ValueError, at the end, when more than 1% of the samples or 5% of the shards
    were damaged: a little rot costs nothing, much of it is another data set.
    """
    skipped = Counter() if skipped is None else skipped
    before = skipped.copy()
    paths, good = shard_paths(folder), 0
    for path in paths:
        try:
            for key, parts in members(path):
                sample = _decode(key, parts)
                if sample is None:
                    skipped["samples"] += 1
                else:
                    good += 1
                    yield sample
        except (tarfile.TarError, OSError):
            skipped["shards"] += 1
    _refuse_rot(folder, "samples", skipped["samples"] - before["samples"], good, sample_tolerance)
    broken = skipped["shards"] - before["shards"]
    _refuse_rot(folder, "shards", broken, len(paths) - broken, shard_tolerance)


def _decode(key: str, parts: dict[str, bytes]) -> Sample | None:
    try:
        picture = Image.open(io.BytesIO(parts["png"])).convert("RGBA")
        return Sample(key, picture, json.loads(parts["json"]))
    except (KeyError, ValueError, OSError, SyntaxError):  # Pillow raises SyntaxError for a broken PNG chunk
        return None


def _refuse_rot(folder: Path, what: str, bad: int, good: int, tolerance: float) -> None:
    if bad > tolerance * (bad + good):
        raise ValueError(
            f"{bad} of {bad + good} {what} in {folder} are damaged (at most {tolerance:.0%} may be): "
            "delete the damaged shards and build again, only they are made anew"
        )


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
