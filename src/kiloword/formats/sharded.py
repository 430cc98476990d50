"""Weights in several safetensors files, with an index beside them that says which file holds what.

The form in which transformers keeps large models (Wolf et al. 2020).
"""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

ENDING = ".safetensors.index.json"


def is_index(name: str) -> bool:
    """Whether a file of that name is such an index."""
    return name.endswith(ENDING)


def shards_of(index: Path) -> list[str]:
    """The names of the files, which lie beside it. Raises ValueError if it is no index."""
    try:
        named = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of safetensors files: give the one beside them") from error
    strange = [name for name in named if not isinstance(name, str) or Path(name).name != name]
    if strange or not named:
        raise ValueError(f"{index} names {strange[0] if strange else 'no files'!r}: files have to lie beside it")
    return named


def read_sharded(index: Path) -> dict[str, Tensor]:
    """All weights. Raises ValueError naming the file that is missing or damaged."""
    found: dict[str, Tensor] = {}
    for name in shards_of(index):
        path = index.with_name(name)
        if not path.is_file():
            raise ValueError(f"{index} names {name}, which is not beside it: put it there")
        try:
            found |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} is not a whole safetensors file: fetch it again") from error
    return found
