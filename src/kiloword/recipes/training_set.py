"""The pictures of a training: from any data set to bytes of one size on disk, with weights and a held-out part.

A subject's skin tones count together about as much as its plain picture, or they would crowd out all else.
"""

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.data.array import ReadOnlyArray, ShardedArray, Writer
from kiloword.data.dataset import Dataset, Sample, Skipped
from kiloword.data.json_lines import JsonLines
from kiloword.data.kinds import open_dataset
from kiloword.evaluation.image_set import key_hash
from kiloword.training.augmentation import to_bytes

# Axes: n pictures, S pixels a side.

HELD_OUT = 0.05  # share that is for evaluation only, where a data set has no such split of its own
SHARD = 32 << 20  # bytes of pictures in a shard


@dataclass(frozen=True)
class Pictures:
    """Pictures [n, 4, S, S] as bytes of premultiplied RGBA at twice the recipe's side, and their metadata."""

    values: ReadOnlyArray
    metadata: Sequence[dict[str, Any]]
    weights: Float[Tensor, "n"]  # how often each is trained on; 0 for those held out
    held_out: Int[Tensor, "m"]


def load_pictures(
    data: Path,
    folder: Path,
    side: int,
    toned: float = 1.0,
    leave_out: tuple[str, ...] = (),
    limit: int = 0,
    hold_out: float = HELD_OUT,
) -> Pictures:
    """All pictures of a data set, each weighed so that a subject's skin tones together weigh `toned`.

    `folder` keeps them at 2 `side` pixels, 16 side^2 bytes each, until they are made anew from other files. Styles in
    `leave_out` are not trained on. With `limit`, up to so many to train on and so many held out, none with a skin tone;
    their keys alone decide. Where the data set holds out nothing itself, the share `hold_out` is.
    """
    dataset = open_dataset(data)
    settings = {"source": dataset.fingerprint(), "side": side, "leave_out": list(leave_out), "most": limit}
    writer, lines = Writer(folder, settings), folder / "metadata.jsonl"
    if not writer.whole:
        _write(writer, lines, dataset, side, leave_out, limit)
    return weighed(ShardedArray(folder), JsonLines(lines), toned, hold_out)


def weighed(
    values: ReadOnlyArray, metadata: Sequence[dict[str, Any]], toned: float, hold_out: float = HELD_OUT
) -> Pictures:
    """The pictures with their weights."""
    known = [(m.get("base"), m.get("style"), bool(m.get("skin_tones")), m.get("split", "train")) for m in metadata]
    tones = Counter((base, style) for base, style, tone, _ in known if tone)
    weights = torch.tensor([toned / tones[base, style] if tone else 1.0 for base, style, tone, _ in known])
    trained = torch.tensor([split == "train" for *_, split in known])
    if trained.all() and len(known) > 1:
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))
        trained[order[: max(1, round(len(known) * hold_out))]] = False
    plain = torch.tensor([not tone for _, _, tone, _ in known])
    held_out = (~trained & plain).nonzero()[:, 0]
    return Pictures(values, metadata, weights * trained, held_out if len(held_out) else torch.arange(len(known)))


def plain_records(records: list[dict]) -> tuple[list[dict], list[dict]]:
    """Records to train on and those held out, none with a skin tone, in an order that their keys alone decide."""
    plain = sorted(
        (record for record in records if not record.get("skin_tones")), key=lambda record: key_hash(0, record["key"])
    )
    known = [record for record in plain if record.get("split", "train") == "train"]
    return known, [record for record in plain if record.get("split", "train") != "train"]


def _write(writer: Writer, lines: Path, dataset: Dataset, side: int, leave_out: tuple[str, ...], limit: int) -> None:
    skipped, temporary = Skipped(), lines.with_name(f".{lines.name}.part")
    each = max(1, SHARD // (16 * side**2))
    held, count = np.empty((each, 4, 2 * side, 2 * side), np.uint8), 0
    with open(temporary, "wb") as file:
        for sample in _chosen(dataset, leave_out, limit, skipped):
            file.write(json.dumps(sample.metadata, ensure_ascii=False).encode() + b"\n")
            held[count % each] = to_bytes(sample.picture, 2 * side)
            count += 1
            if count % each == 0:
                writer.shard(count // each - 1, lambda: held)
        if count % each:
            writer.shard(count // each, lambda: held[: count % each])
    if not count:
        raise ValueError(f"{dataset.path} holds no pictures to learn: add some, or name another folder")
    if skipped:
        warnings.warn(skipped.said(), stacklevel=2)
    os.replace(temporary, lines)
    writer.finish(-(-count // each))


def _chosen(dataset: Dataset, leave_out: tuple[str, ...], limit: int, skipped: Skipped) -> Iterator[Sample]:
    few = None
    if limit:
        records = [s.metadata for s in dataset.read(skipped) if s.metadata.get("style") not in leave_out]
        few = {record["key"] for split in plain_records(records) for record in split[:limit]}
    for sample in dataset.read(skipped):
        if sample.metadata.get("style") not in leave_out and (few is None or sample.key in few):
            yield sample
