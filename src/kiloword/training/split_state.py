"""The state of a run whose weights are split: each process writes its part, any number of processes reads them.

PyTorch's distributed checkpoint (torch.distributed.checkpoint) in its safetensors format, so that reading runs no code.
The parts of an iteration lie in a folder of their own, which gets its name once they are all written.
"""

import json
import shutil
import warnings
from pathlib import Path

import torch
import torch.distributed as distributed
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from kiloword.training.state import load_state, remember, tensors_of

NOTE = "note.json"


def save_split(
    path: Path, module: nn.Module, average: dict[str, Tensor], optimisers: list[Optimizer], note: dict
) -> None:
    """Write the parts of a state, in a folder "state-000200" beside where `path` would be; all processes call this."""
    folder = path.with_name(f"{path.stem}-{note['iteration']:06d}")
    temporary, first = folder.with_name(f".{folder.name}.part"), distributed.get_rank() == 0
    if first:
        shutil.rmtree(temporary, ignore_errors=True)
    distributed.barrier()
    save(
        tensors_of(module, average, optimisers),
        storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True),
    )
    distributed.barrier()
    if first:
        (temporary / NOTE).write_text(json.dumps({"format": 1, **note}))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        path.unlink(missing_ok=True)
        forget_split(path, but=folder)


def forget_split(path: Path, but: Path | None = None) -> None:
    """Remove the states in parts that a newer one has made superfluous."""
    for folder in folders(path):
        if folder != but:
            shutil.rmtree(folder)


def load_newest(path: Path, module: nn.Module, average: dict[str, Tensor], optimisers: list[Optimizer]) -> dict | None:
    """Put back the newest state, in one file or in parts, whatever wrote it; its note, or None if there is none."""
    parts = folders(path)
    if not parts:
        return load_state(path, module, average, optimisers) if path.exists() else None
    if path.exists() and _iteration(path) >= json.loads((parts[-1] / NOTE).read_text())["iteration"]:
        return load_state(path, module, average, optimisers)
    return load_split(parts[-1], module, average, optimisers)


def load_split(folder: Path, module: nn.Module, average: dict[str, Tensor], optimisers: list[Optimizer]) -> dict:
    """Put a state back that was written in parts, in place; its note is returned."""
    note = json.loads((folder / NOTE).read_text())
    if note.get("format") != 1:
        raise ValueError(f"{folder} has training state format {note.get('format')}; this kiloword reads format 1")
    reader = HuggingFaceStorageReader(str(folder))
    wanted = tensors_of(module, average, [])
    metadata = reader.read_metadata().state_dict_metadata
    written = {name: of for name, of in metadata.items() if isinstance(of, TensorStorageMetadata)}
    kept = {name for name in written if not name.startswith("optimiser.")}
    if kept != wanted.keys() or any(written[name].size != value.shape for name, value in wanted.items()):
        other = sorted(kept ^ wanted.keys()) or [n for n, value in wanted.items() if written[n].size != value.shape]
        raise ValueError(f"{folder} belongs to another model: {other[0]}")
    held = {name: _empty(name, written[name], optimisers) for name in written.keys() - kept}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load(wanted | held, storage_reader=reader, no_dist=not distributed.is_initialized())
    remember(held, optimisers)
    return note


def folders(path: Path) -> list[Path]:
    """The states in parts beside a state file, the newest last."""
    return sorted(folder for folder in path.parent.glob(f"{path.stem}-*") if (folder / NOTE).exists())


def _empty(name: str, written: TensorStorageMetadata, optimisers: list[Optimizer]) -> Tensor:
    """An empty tensor for an optimiser's state: split as its parameter is where it has the same shape."""
    _, k, index, _ = name.split(".", 3)
    parameters = [parameter for group in optimisers[int(k)].param_groups for parameter in group["params"]]
    if parameters[int(index)].shape == written.size:
        return torch.zeros_like(parameters[int(index)], dtype=written.properties.dtype, requires_grad=False)
    return torch.zeros(written.size, dtype=written.properties.dtype)


def _iteration(path: Path) -> int:
    with safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {}).get("note", "{}")).get("iteration", 0)
