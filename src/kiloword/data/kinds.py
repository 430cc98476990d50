"""Opening a data set of any kind: which one lies at a path, and the `Dataset` that reads it.

Source: defined here; the kinds cite what they read in files of their own.
"""

from collections import Counter
from pathlib import Path

from kiloword.data.dataset import SUFFIXES, Dataset
from kiloword.data.folder import LISTS, FolderDataset
from kiloword.data.parquet import ParquetDataset
from kiloword.data.shards import ShardDataset

LEGAL = (
    "tar files (KEY.png or KEY.jpg beside KEY.txt or KEY.json), parquet files (image and text or caption), or "
    f"pictures ({' '.join(SUFFIXES)}) with {' or '.join(LISTS)} or captions in their names"
)


def open_dataset(path: Path) -> Dataset:
    """The data set at a path: shards (the emoji set among them), webdataset, parquet, or a folder of pictures.

    Example: `open_dataset(Path("my-pictures")).length()`. Raises ValueError that says what was found there, and
    what may lie there.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist: name the folder or file that holds the pictures")
    if path.is_file():
        kinds = {".tar": ShardDataset, ".parquet": ParquetDataset}
        if path.suffix.lower() not in kinds:
            raise ValueError(f"{path} is neither a .tar nor a .parquet file: name one, or a folder of {LEGAL}")
        return kinds[path.suffix.lower()](path)
    found = Counter(file.suffix.lower() for file in path.rglob("*") if file.is_file() and file.name[0] != ".")
    if found[".tar"] and found[".parquet"]:
        raise ValueError(f"{path} holds {_said(found)}: name a folder with tar or with parquet files, not with both")
    if found[".tar"]:
        return ShardDataset(path)
    if found[".parquet"]:
        return ParquetDataset(path)
    if any(found[suffix] for suffix in SUFFIXES) or any((path / name).exists() for name in LISTS):
        return FolderDataset(path)
    raise ValueError(f"{path} holds no pictures with captions, but {_said(found) or 'nothing'}; it may hold {LEGAL}")


def _said(found: Counter[str]) -> str:
    """What was found, the most common first: "3 .txt, 1 .md"."""
    return ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in found.most_common(6) if count)
