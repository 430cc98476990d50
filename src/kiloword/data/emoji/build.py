"""Building the emoji set: plan, render shard by shard in several processes, then index and summarize.

Source: defined here. A finished shard is never rendered again, so a build that was stopped goes on where it was.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import tarfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from kiloword.data.emoji import npm
from kiloword.data.emoji.plan import FORMAT, Fetch, Planned, fingerprint, plan
from kiloword.data.emoji.render import is_blank, png, render, require_renderer
from kiloword.data.emoji.sources import STYLES
from kiloword.data.emoji.summary import Summary, summarize, warn_if_unexpected, write_summary
from kiloword.data.shards import members, replace_file, shard_paths, write_metadata, write_shard

PLAN = "plan.json"


@dataclass(frozen=True)
class Job:
    """One shard to render."""

    path: Path
    pictures: tuple[Planned, ...]
    size: int


def build(
    out: Path,
    *,
    size: int = 128,
    styles: Sequence[str] = tuple(STYLES),
    cache: Path,
    fetch: Fetch = npm.fetch,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Build the set in folder out, or go on with it; the same arguments give the same bytes.

    `cache` keeps the fetched packages, `progress` is called with (pictures done, pictures in all) after every shard.
    """
    _check(size, styles)
    require_renderer()
    planned = plan(styles, cache, fetch)
    _claim(out, fingerprint(planned, size))
    done = 0
    for job in _finished(_jobs(out, planned, size), workers or os.cpu_count() or 1):
        done += len(job.pictures)
        if progress:
            progress(done, len(planned))
    records = _without_repeats(out)
    summary = summarize(records, planned, size, styles)
    warn_if_unexpected(summary)
    write_metadata(out, records)
    write_summary(out, summary)
    return summary


def _check(size: int, styles: Sequence[str]) -> None:
    if not 8 <= size <= 1024:
        raise ValueError(f"size is {size} pixels: choose 8 to 1024 (the 3D drawings have 256)")
    unknown = sorted(set(styles) - set(STYLES))
    if unknown or not styles:
        raise ValueError(f"unknown styles {unknown} in {list(styles)}: choose from {', '.join(STYLES)}")


def _claim(out: Path, digest: str) -> None:
    """Make out the folder of the plan with this fingerprint; refuse a folder that holds anything else."""
    path = out / PLAN
    if path.exists():
        if json.loads(path.read_bytes())["fingerprint"] != digest:
            raise ValueError(f"{out} holds a set with other settings: choose another folder, or delete this one")
        return
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and no emoji set was begun in it: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps({"format": FORMAT, "fingerprint": digest}).encode())


def _jobs(out: Path, planned: Iterable[Planned], size: int) -> list[Job]:
    shards = groupby(planned, key=lambda picture: picture.metadata["shard"])
    return [Job(out / name, tuple(pictures), size) for name, pictures in shards]


def _finished(jobs: Sequence[Job], workers: int) -> Iterator[Job]:
    """Every job once it is on disk: those of an earlier run first, then the others as they are rendered."""
    left = [job for job in jobs if not _is_whole(job.path)]
    yield from (job for job in jobs if job not in left)
    if workers == 1 or len(left) < 2:
        yield from map(_render_shard, left)
        return
    spawn = multiprocessing.get_context("spawn")  # fork would copy locks that torch's threads may hold
    quietly = (signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the processes at once; a begun shard leaves nothing behind
    with ProcessPoolExecutor(min(workers, len(left)), spawn, initializer=signal.signal, initargs=quietly) as pool:
        try:
            for future in as_completed([pool.submit(_render_shard, job) for job in left]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _is_whole(path: Path) -> bool:
    try:
        return all(len(parts) == 2 for _, parts in members(path))
    except (OSError, tarfile.TarError):
        return False


def _render_shard(job: Job) -> Job:
    write_shard(job.path, _rendered(job.pictures, job.size))
    return job


def _rendered(pictures: Iterable[Planned], size: int) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    for planned in pictures:
        try:
            picture = render(planned.drawing, size)
        except Exception as error:  # whatever the renderer raises, one bad drawing must not stop the others
            warnings.warn(f"left out {planned.metadata['key']}, it does not render: {error}", stacklevel=2)
            continue
        if not is_blank(picture):
            yield planned.metadata["key"], png(picture), planned.metadata


def _without_repeats(out: Path) -> list[dict[str, Any]]:
    """The metadata of all pictures, after taking from the shards those equal in every pixel to an earlier one."""
    records, seen = [], set()
    for path in shard_paths(out):
        kept, repeats = [], 0
        for key, parts in members(path):
            digest = hashlib.sha256(parts["png"]).digest()
            if digest in seen:
                repeats += 1
                continue
            seen.add(digest)
            kept.append((key, parts["png"], json.loads(parts["json"])))
        if repeats:
            write_shard(path, kept)
        records += [metadata for _, _, metadata in kept]
    return records
