"""The pictures of a study: some of a shard folder's, chosen by their keys alone, kept as bytes beside the study.

Source: the emoji set of `data/emoji`, and its split into pictures to learn and held-out ones.
"""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kiloword.data import shards
from kiloword.recipes.training_set import Pictures, plain_records
from kiloword.training.augmentation import to_bytes

# The fields of a picture's metadata that are kept, and their defaults.
FIELDS = {
    "key": "", "caption": "", "style": "", "split": "train", "base": "", "code": "", "group": "", "skin_tones": (),
    "keywords": (), "translations": {},
}  # fmt: skip


def subset(data: Path, records: list[dict], side: int, path: Path, progress: Callable[[int, int], None]) -> Pictures:
    """The pictures of the chosen records, for training or held out; `path` (.npy) keeps them."""
    names = path.with_suffix(".json")
    what = {"side": side, "keys": [record["key"] for record in records]}
    if not (path.exists() and names.exists() and json.loads(names.read_text()) == what):
        values = _read(data, what["keys"], side, progress)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".part.npy")
        np.save(temporary, values)
        temporary.replace(path)
        names.write_text(json.dumps(what))
    learned = sum(record["split"] == "train" for record in records)
    weights = torch.ones(len(records))
    weights[learned:] = 0
    return Pictures(torch.from_numpy(np.load(path)), records, weights, torch.arange(learned, len(records)))


def chosen(data: Path, learned: int, held_out: int, styles: Sequence[str] = ()) -> list[dict]:
    """Records of up to so many training pictures, then held-out ones, none with a skin tone; their keys alone decide.

    With `styles`, only pictures in one of them.

    Raises ValueError if there are none to learn, or none held out.
    """
    records = [record for record in shards.load_metadata(data) if not styles or record.get("style") in styles]
    known, others = plain_records(
        [{name: record.get(name, usual) for name, usual in FIELDS.items()} for record in records]
    )
    if not known or not others:
        which = f" in the style {' or '.join(styles)}" if styles else ""
        counts = f"{len(known)} pictures to learn and {len(others)} held out{which}"
        raise ValueError(f"{data} has {counts}: a study needs both")
    return known[:learned] + others[:held_out]


def _read(data: Path, keys: list[str], side: int, progress: Callable[[int, int], None]) -> np.ndarray:
    """The pictures of some keys at twice the side, as bytes [n, 4, H, W]."""
    index_of = {key: index for index, key in enumerate(keys)}
    values, found = np.zeros((len(keys), 4, 2 * side, 2 * side), np.uint8), set()
    for shard in shards.shard_paths(data):
        for key, parts in shards.members(shard):
            if key in index_of:
                values[index_of[key]] = to_bytes(Image.open(io.BytesIO(parts["png"])), 2 * side).numpy()
                found.add(key)
        progress(len(found), len(keys))
    if len(found) < len(keys):
        raise ValueError(f"{len(keys) - len(found)} of {len(keys)} pictures listed in {data} are not in its shards")
    return values
