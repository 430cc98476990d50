"""Reading other people's files without running a line of their code.

safetensors files, PyTorch archives through `weights_only`, TensorFlow's checkpoints by their index, and whole pickled
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

from kiloword.published.page import File, Page, Variant, some
from kiloword.published.sharded import is_index, read_sharded
from kiloword.published.tensor_bundle import is_shard, read_bundle


def read(path: Path, file: File) -> dict[str, Tensor]:
    """The weights in an authors' file, by the authors' names. Raises ValueError if it is not what it should be.

    The shards of a TensorFlow checkpoint give none: their numbers come with the index, beside which they lie. Nor do
    texts that are arguments.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if is_shard(file.name) or file.argument:
        return {}
    if path.suffix == ".safetensors":
        try:
            values: Any = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} is not a whole safetensors file: {_line(error)}") from error
    elif path.suffix == ".pkl":
        from kiloword.published.pickled import tensors_of_module

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
    return unwrap(values, file, path)


def unwrap(values: Any, file: File, path: Path) -> dict[str, Tensor]:
    """The weights below the keys `file.under`; a file that is flat already is taken as it is."""
    for key in file.under:
        if isinstance(values, dict) and isinstance(values.get(key), dict):
            values = values[key]
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, not weights")
    found = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    if not found:
        raise ValueError(f"{path} holds no weights under {' / '.join(file.under) or 'its first level'}")
    return {f"{file.part}.{name}" if file.part else name: value for name, value in found.items()}


def _unpack(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([Namespace]):  # training scripts leave their arguments beside the weights
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are cut short or hold code
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(f"{path} asks for {asked[1]}: refused, and nothing of it was run") from error
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


def read_recording(folder: Path, settings: dict[str, Any], page: Page) -> dict[str, Tensor]:
    """The authors' weights in a recording: one file, or several whose names are put before those in them.

    They are its safetensors; where it has none, its TensorFlow checkpoints, PREFIX.index or PREFIX.* for all files.
    """
    listed = settings.get("weights_files") or {}
    found: dict[str, Tensor] = {}
    files = {part: name for part, name in listed.items() if name.endswith(".safetensors")} or {
        part: name.removesuffix("*").removesuffix("index") + "index"
        for part, name in listed.items()
        if name.endswith((".index", ".*"))
    }
    for part, name in files.items():
        found |= read(folder / name, File(name, part="" if len(files) == 1 else part))
    return found


def read_variant(paths: list[Path], variant: Variant) -> dict[str, Tensor]:
    """All weights of a published variant from its files, in the order of the page."""
    if len(paths) != len(variant.files):
        wanted = some([file.name for file in variant.files])
        raise ValueError(f"this system comes in {len(variant.files)} files ({wanted}); {len(paths)} are given")
    found: dict[str, Tensor] = {}
    for path, file in zip(paths, variant.files, strict=True):
        found |= read(path, file)
    return found


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
