"""Other people's files of weights, of any kind, read without running a line of their code.

Source: the readers beside it, and torch's `serialization.py`.

Safetensors files, PyTorch archives through `weights_only`, TensorFlow's checkpoints by their index, and whole pickled
modules (DALL-E's encoder.pkl): of the last, classes are replaced by empty stand-ins that collect tensors, and whatever
would be called is refused.
"""

import json
import re
from argparse import Namespace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kiloword.formats.sharded import is_index, read_sharded
from kiloword.formats.tensor_bundle import is_shard, read_bundle


def read(path: Path, under: tuple[str, ...] = (), part: str = "") -> dict[str, Tensor]:
    """The tensors of a file of any kind, by the names that its writers gave them.

    They lie below the keys `under`; a file that is flat already is taken as it is. `part` and a dot are put before each
    name. Raises ValueError if the file is not whole, would run code, or holds no tensors.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        try:
            values: Any = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} is not a whole safetensors file: {_line(error)}") from error
    elif path.suffix == ".pkl":
        from kiloword.formats.pickled import tensors_of_module

        values = tensors_of_module(path)
    elif path.suffix == ".index" or is_shard(path.name):
        values = read_bundle(path)
    elif is_index(path.name):
        values = read_sharded(path)
    elif path.suffix == ".npy":
        values = {"clusters": torch.from_numpy(_array(path))}
    elif path.suffix == ".json":
        values = _settings(path)
    else:
        values = _unpack(path)
    return _unwrap(values, under, part, path)


def _unwrap(values: Any, under: tuple[str, ...], part: str, path: Path) -> dict[str, Tensor]:
    """The tensors below the keys, `part` before their names."""
    for key in under:
        if isinstance(values, dict) and isinstance(values.get(key), dict):
            values = values[key]
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, not weights")
    found = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    if not found:
        raise ValueError(f"{path} holds no weights under {' / '.join(under) or 'its first level'}")
    return {f"{part}.{name}" if part else name: value for name, value in found.items()}


def _unpack(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([Namespace]):  # training scripts leave their arguments beside the weights
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are cut short or hold code
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(f"{path} asks for {refused[1]}: refused, and nothing of it was run") from error
        reason = "more than weights" if isinstance(error, UnpicklingError) else _line(error).partition(". ")[0]
        raise ValueError(f"{path} is damaged or not a PyTorch file of weights ({reason})") from error


def _array(path: Path) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a whole array file without pickled objects: {_line(error)}") from error


def _settings(path: Path) -> dict[str, Tensor]:
    """The lists of numbers in a JSON file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {name: torch.tensor(value) for name, value in values.items() if isinstance(value, list)}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} does not hold settings with lists of numbers: {_line(error)}") from error


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
