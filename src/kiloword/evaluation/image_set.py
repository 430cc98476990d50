"""Image set: all pictures of a data set in memory, at the size that a model draws, with the metadata of each.

Source: the format of `data/shards.py`; smaller sizes are area means of premultiplied colours, as in training.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from kiloword.data.emoji.split import HELD_OUT_PAIR, HELD_OUT_SUBJECT, TRAIN
from kiloword.data.shards import load_metadata, read

# Axes: n pictures of the set, b pictures, H W pixels.

SPLITS = {"train": TRAIN, "held_out": HELD_OUT_PAIR, "held_out_subject": HELD_OUT_SUBJECT}
_NEEDED = {"key", "caption", "code", "base", "skin_tones", "group", "style", "split"}

Progress = Callable[[str, int, int], None]  # stage ("pictures drawn"), pictures done, pictures in all


@dataclass(frozen=True)
class ImageSet:
    """Pictures as bytes of premultiplied RGBA; `metadata` has a record of each, in the same order."""

    metadata: list[dict[str, Any]]
    pixels: UInt8[Tensor, "n 4 H W"]
    damaged: dict[str, int] = field(default_factory=dict)  # samples and shards that could not be read

    def choose(self, split: str, styles: Sequence[str], limit: int, seed: int) -> list[int]:
        """Indices of at most `limit` pictures of a split, without skin tones; seed and keys alone decide which."""
        fit = [
            index
            for index, record in enumerate(self.metadata)
            if record["split"] == SPLITS[split] and not record["skin_tones"] and record["style"] in styles
        ]
        return sorted(fit, key=lambda index: key_hash(seed, self.metadata[index]["key"]))[:limit]

    def matching(self, **fields: Any) -> list[int]:
        """Indices of the pictures whose metadata has these values."""
        wanted = fields.items()
        return [i for i, record in enumerate(self.metadata) if all(record[name] == value for name, value in wanted)]

    def counts(self, name: str) -> dict[str, int]:
        return dict(sorted(Counter(record[name] for record in self.metadata).items()))


def load_image_set(data: Path, size: tuple[int, int], progress: Progress | None = None) -> ImageSet:
    """The image set of a built data set, every picture at `size` (height, width) in pixels."""
    known = load_metadata(data)
    missing = sorted({name for record in known for name in _NEEDED - record.keys()})
    if missing:
        raise ValueError(f"the pictures in {data} say nothing of their {', '.join(missing)}: it is not an emoji set")
    records, pixels, skipped, total = [], [], Counter(), len(known)
    for sample in read(data, skipped=skipped):
        records.append({name: sample.metadata[name] for name in _NEEDED})
        pixels.append(fitted(sample.picture, size))
        if progress and len(records) % 500 == 0:
            progress("pictures read", len(records), total)
    if not records:
        raise ValueError(f"{data} holds no pictures: build the data set anew")
    return ImageSet(records, torch.stack(pixels), dict(skipped))


def fitted(picture: Image.Image, size: tuple[int, int]) -> UInt8[Tensor, "4 H W"]:
    """A picture as bytes of premultiplied RGBA: made smaller by area means, larger by Lanczos."""
    premultiplied = picture.convert("RGBA").convert("RGBa")
    height, width = size
    if premultiplied.size != (width, height):
        method = Image.Resampling.BOX if premultiplied.height >= height else Image.Resampling.LANCZOS
        premultiplied = premultiplied.resize((width, height), method)
    return torch.from_numpy(np.array(premultiplied)).movedim(-1, 0).contiguous()


def to_bytes(pixels: Float[Tensor, "b 4 H W"]) -> UInt8[Tensor, "b 4 H W"]:
    """Pictures in [-1, 1] as bytes that can be shown: 8 bits, no colour above its alpha."""
    values = pixels.detach().float().cpu().clamp(-1, 1)
    values = torch.cat([values[:, :3].minimum(values[:, 3:]), values[:, 3:]], dim=1)
    return values.add(1).mul(127.5).round().to(torch.uint8)


def key_hash(seed: int, key: str) -> int:
    """A hash below 2^31 of a key: the first 31 bits of the SHA-256 of "seed/key"."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:4], "big") >> 1
