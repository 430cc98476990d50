"""The state of a training run in one safetensors file: written atomically, read without running code.

The file holds the weights, their moving average and the state of the optimisers; its header says which
iteration comes next.
"""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from kiloword import aliases
from kiloword.training.scale import like


def save_state(
    path: Path, module: nn.Module, average: dict[str, Tensor], optimisers: list[Optimizer], note: dict
) -> None:
    """Write everything that the next iteration depends on; `note` is the run's JSON, with the iteration."""
    tensors = tensors_of(module, average, optimisers)
    temporary = path.with_name(path.name + ".part")
    copies = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    save_file(copies, temporary, metadata={"note": json.dumps({"format": 1, **note})})
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def tensors_of(module: nn.Module, average: dict[str, Tensor], optimisers: list[Optimizer]) -> dict[str, Tensor]:
    """The tensors of a state by their names in its file: "module.x", "average.x", "optimiser.0.3.exp_avg"."""
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for k, optimiser in enumerate(optimisers):
        for index, held in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{k}.{index}.{name}": torch.as_tensor(value) for name, value in held.items()}
    return tensors


def load_state(path: Path, module: nn.Module, average: dict[str, Tensor], optimisers: list[Optimizer]) -> dict:
    """Put a state back where it came from, in place; its note is returned."""
    try:
        with safe_open(path, "pt") as file:
            note = json.loads((file.metadata() or {}).get("note", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is not a whole training state ({error}); remove it to start anew") from error
    if note.get("format") != 1:
        raise ValueError(f"{path} has training state format {note.get('format')}; this kiloword reads format 1")
    known = module.state_dict()
    weights = aliases.weights_of(_under(tensors, "module."), known)
    try:
        module.load_state_dict({name: like(value, known.get(name, value)) for name, value in weights.items()})
    except RuntimeError as error:
        raise ValueError(f"{path} belongs to another model: {str(error).splitlines()[1].strip()}") from error
    for name, value in aliases.weights_of(_under(tensors, "average."), average).items():
        average[name].copy_(like(value, average[name]))
    remember(tensors, optimisers)
    return note


def remember(tensors: dict[str, Tensor], optimisers: list[Optimizer]) -> None:
    """Load the state of optimisers, laid out in memory and on devices as its parameter is: other strides would round
    sums differently."""
    for k, optimiser in enumerate(optimisers):
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        held: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, f"optimiser.{k}.").items():
            index, key = name.split(".", 1)
            held.setdefault(int(index), {})[key] = like(value, parameters[int(index)])
        optimiser.load_state_dict({**optimiser.state_dict(), "state": held})


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
