"""Arrays larger than memory: samples in shards on disk, memory-mapped, written shard by shard and found again.

Source: defined here; a shard is a plain .npy file (numpy.lib.format), and the manifest is one JSON object.
"""

import hashlib
import json
import mmap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from kiloword.data.shards import replace_file

# A sample is what lies at one index of the first axis. Axes: n samples.

MANIFEST = "manifest.json"
FORMAT = 1
RESIDENT = 64 << 20  # bytes of mapped files that may be touched before their pages are given back


@runtime_checkable
class ReadOnlyArray(Protocol):
    """What training reads from: a tensor is one, and so is a `ShardedArray`."""

    @property
    def shape(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Tensor:
        """The samples at an index: a whole number, a slice, whole numbers [b], or truth values [n]."""
        ...


class ShardedArray:
    """Samples [n, ...] in the shards of a folder, read by any index on their first axis as a tensor of their own.

    Memory stays bounded: the pages that were read are given back to the system, which caches them while memory is free.
    """

    def __init__(self, folder: Path):
        manifest = json.loads((folder / MANIFEST).read_text())
        self.folder, self.digest = folder, str(manifest["digest"])
        self._shards = [_mapped(folder / name) for name in manifest["shards"]]
        self._starts = np.cumsum([0, *(len(shard) for shard in self._shards)])
        self.shape = (int(self._starts[-1]), *self._shards[0].shape[1:])
        self._touched = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | Tensor, /) -> Tensor:
        if isinstance(index, int):
            return self[torch.tensor([range(len(self))[index]])][0]
        if isinstance(index, slice):
            return self._read(np.arange(len(self))[index])
        if index.dtype == torch.bool:
            return self._read(index.numpy().nonzero()[0])
        flat = index.numpy().reshape(-1)
        if len(flat) and not -len(self) <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"samples 0 to {len(self) - 1} are there, requested {flat.min()} to {flat.max()}")
        return self._read(flat % len(self)).view(*index.shape, *self.shape[1:])

    def _read(self, index: np.ndarray) -> Tensor:
        out = np.empty((len(index), *self.shape[1:]), self._shards[0].dtype)
        shard_of = np.searchsorted(self._starts, index, side="right") - 1
        for number in np.unique(shard_of):
            chosen = shard_of == number
            out[chosen] = self._shards[number][index[chosen] - self._starts[number]]
        self._touched += out.nbytes
        if self._touched > RESIDENT:
            self._give_back()
        return torch.from_numpy(out)

    def _give_back(self) -> None:
        self._touched = 0
        for shard in self._shards:
            pages = shard._mmap  # type: ignore[attr-defined]
            if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
                pages.madvise(mmap.MADV_DONTNEED)


def _mapped(path: Path) -> np.memmap:
    shard = np.load(path, mmap_mode="r")
    assert isinstance(shard, np.memmap)
    pages = shard._mmap  # type: ignore[attr-defined]
    if pages is not None and hasattr(mmap, "MADV_RANDOM"):
        pages.madvise(mmap.MADV_RANDOM)  # or the system reads far ahead of every sample
    return shard


def digest_of(samples: ReadOnlyArray) -> str:
    """A fingerprint of the content: of a tensor's bytes, or what a sharded array's manifest says."""
    if isinstance(samples, ShardedArray):
        return samples.digest
    assert isinstance(samples, Tensor)
    return _digest([hashlib.sha256(samples.contiguous().numpy().tobytes()).hexdigest()])


class Writer:
    """A sharded array on its way to a folder: shards that an earlier run has finished are kept.

    `settings` is JSON that says what the content depends on. A folder that was begun with other settings is begun
    anew, so that what lies there is never taken for something else.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self.folder, self.settings = folder, {"format": FORMAT, **settings}
        begun = folder / "settings.json"
        if not begun.exists() or json.loads(begun.read_text()) != json.loads(json.dumps(self.settings)):
            clear(folder)
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(begun, json.dumps(self.settings, indent=1).encode())

    @property
    def whole(self) -> bool:
        """Whether all of it is there."""
        return (self.folder / MANIFEST).exists()

    def shard(self, number: int, make: Callable[[], np.ndarray]) -> None:
        """Make the shard of that number and write it, in one step, if it is not there."""
        path = self.folder / shard_name(number)
        if not path.exists():
            temporary = path.with_name(f".{path.name}.part.npy")
            np.save(temporary, make())
            temporary.replace(path)

    def finish(self, shards: int) -> ShardedArray:
        """Write the manifest of that many shards; nobody reads a folder without one. The array is returned."""
        names = [shard_name(number) for number in range(shards)]
        digests = [_file_digest(self.folder / name) for name in names]
        replace_file(self.folder / MANIFEST, json.dumps({"digest": _digest(digests), "shards": names}).encode())
        return ShardedArray(self.folder)


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.npy"


def clear(folder: Path) -> None:
    """Remove what a `Writer` wrote into a folder, and nothing else."""
    for path in (folder / MANIFEST, folder / "settings.json", *folder.glob("*shard-*.npy")):
        path.unlink(missing_ok=True)


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
