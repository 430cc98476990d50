"""Checkpoints: weights.safetensors and config.json in a folder; saved, loaded and pulled, never running code."""

import dataclasses
import json
import os
import shutil
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kiloword import parts
from kiloword.engine.painter import Card, Painter

SHIPPED = Path(__file__).parent / "weights"
DEFAULT = "emoji-64"
WEIGHTS, CONFIG = "weights.safetensors", "config.json"


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(folder.parent.name for folder in SHIPPED.glob(f"*/{CONFIG}"))


def load(name: str | Path = DEFAULT, device: str | torch.device = "cpu") -> Painter:
    """A model ready to draw: a shipped one by name, a folder, or a Hugging Face hub id ("owner/name").

    Raises ValueError if there is none, or if the files are not whole.
    """
    folder = find(name)
    config, card = read_config(folder)
    model = parts.build(config)
    put_weights(model, folder / WEIGHTS)
    return Painter(model.to(device), card)


def find(name: str | Path) -> Path:
    """The folder of a model's checkpoint; a hub id that is not cached yet is pulled."""
    if (SHIPPED / str(name) / CONFIG).exists():
        return SHIPPED / str(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / CONFIG).exists():
            raise ValueError(f"{folder} holds no {CONFIG}, so it is not a kiloword checkpoint")
        return folder
    if str(name).count("/") == 1 and not str(name).startswith((".", "/", "~")):
        return pull(str(name))
    near = get_close_matches(str(name), shipped(), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else "give one of them, a folder, or owner/name on the hub"
    raise ValueError(f"there is no model {str(name)!r}: {hint} (shipped: {', '.join(shipped()) or 'none'})")


def pull(name: str) -> Path:
    """Fetch a checkpoint from the Hugging Face hub into its cache. Raises ValueError when that fails."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS]))
    except LocalEntryNotFoundError as error:
        raise ValueError(f"{name} is not in the cache and the hub cannot be reached: {_line(error)}") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ValueError(f"{name} could not be pulled from the hub: {_line(error)}") from error


def save(folder: str | Path, painter: Painter, config: Any, dtype: torch.dtype = torch.float16) -> None:
    """Write a checkpoint as a whole: the folder appears, or is replaced, only once both files are on disk."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}-{os.getpid()}.part"
    temporary.mkdir()
    try:
        tensors = {name: _stored(value, dtype) for name, value in painter.model.state_dict().items()}
        save_file(tensors, temporary / WEIGHTS)
        (temporary / WEIGHTS).chmod(0o644)
        values = {"format": parts.FORMAT, "card": dataclasses.asdict(painter.card), "model": parts.to_json(config)}
        (temporary / CONFIG).write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        old = folder.with_name(f".{folder.name}-old")
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_config(folder: Path) -> tuple[Any, Card]:
    """The parts and the card of a checkpoint."""
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {_line(error)}") from error
    if not isinstance(values, dict) or not {"format", "card", "model"} <= values.keys():
        raise ValueError(f"{path} is not a kiloword config: format, card and model are needed")
    if values["format"] != parts.FORMAT:
        raise ValueError(f"{path} has format {values['format']}; this kiloword reads {parts.FORMAT}: update kiloword")
    try:
        card = {**values["card"], "sizes": tuple(map(tuple, values["card"]["sizes"]))}
        model, card = parts.from_json(values["model"]), Card(**card)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: {_line(error)}") from error
    if not isinstance(model, parts.ImageModelConfig) or not card.sizes:
        raise ValueError(f"{path} does not describe an image model with the sizes that it draws")
    return model, card


def put_weights(module: torch.nn.Module, path: Path) -> None:
    """Load weights into a module, as numbers of its own format. Raises ValueError naming what does not fit."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {_line(error)}") from error
    own = module.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or extra:
        raise ValueError(
            f"{path} does not fit its config: {len(missing)} weights missing {missing[:3]}, "
            f"{len(extra)} unknown {extra[:3]}"
        )
    for name, value in tensors.items():
        if value.shape != own[name].shape:
            raise ValueError(f"{path}: {name} has shape {list(value.shape)}, the config asks {list(own[name].shape)}")
        if not torch.isfinite(value).all():
            raise ValueError(f"{path}: {name} holds NaN or infinity")
    module.load_state_dict({name: value.to(own[name].dtype) for name, value in tensors.items()})


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.detach().to(dtype if value.is_floating_point() else value.dtype).contiguous()


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
