"""Checkpoints: config.json and weights.safetensors in a folder, and judge.safetensors if a judge chooses for the model.

They are saved, loaded and pulled, and never run code.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kiloword import aliases, parts, published
from kiloword.engine.card import Card, Classes
from kiloword.engine.cpu.optimise import optimise_for_cpu
from kiloword.engine.painter import Painter
from kiloword.model import ImageModel
from kiloword.published.convert import arrange, convert
from kiloword.published.fetch import fetch
from kiloword.published.imagenet import class_id
from kiloword.tokenizers.judge import ContrastiveJudge, JudgeConfig
from kiloword.tokenizers.tokenizer import Tokenizer, TokenizerConfig

SHIPPED = Path(__file__).parent / "weights"
DEFAULT = "emoji-64"
WEIGHTS, CONFIG, JUDGE = "weights.safetensors", "config.json", "judge.safetensors"
CLASSES: dict[str, Classes] = {"imagenet": class_id}  # lists of classes that cards name


@dataclasses.dataclass(frozen=True)
class TokenizerCard:
    """Metadata of a tokenizer saved by itself; `page` names the published system that it is."""

    name: str
    licence: str
    about: str = ""
    page: str = ""


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
    return Painter(optimise_for_cpu(model.to(device)), card, classes_of(card), load_judge(folder, device))


def load_judge(folder: Path, device: str | torch.device = "cpu") -> ContrastiveJudge | None:
    """The judge that chooses among a model's candidates, if it has one. Raises ValueError as `load` does."""
    values = _read(folder / CONFIG)
    if "judge" not in values:
        return None
    config = _described(folder / CONFIG, values["judge"])
    if not isinstance(config, JudgeConfig):
        raise ValueError(f"{folder / CONFIG} describes no judge where one is named")
    judge = parts.build(config)
    put_weights(judge, folder / JUDGE)
    return judge.to(device).eval()


def classes_of(card: Card) -> Classes | None:
    """The map from names of a model's classes to their numbers, if they have names."""
    if card.classes and card.classes not in CLASSES:
        raise ValueError(f"{card.name} names its classes after {card.classes!r}, which this kiloword does not know")
    return CLASSES.get(card.classes)


def load_tokenizer(name: str | Path = DEFAULT, device: str | torch.device = "cpu") -> tuple[Tokenizer, TokenizerCard]:
    """A tokenizer: one that was pulled or trained by itself, or the picture tokenizer of a model.

    Raises ValueError as `load` does.
    """
    folder = find(name)
    values = _read(folder / CONFIG)
    if "tokenizer" not in values:
        painter = load(folder, device)
        card = painter.card
        return painter.model.picture.tokenizer, TokenizerCard(card.name, card.licence, card.about)
    config, card = read_tokenizer_config(folder)
    tokenizer = parts.build(config)
    put_weights(tokenizer, folder / WEIGHTS)
    return tokenizer.to(device).eval(), card


def find(name: str | Path) -> Path:
    """The folder of a model's checkpoint; a hub id that is not cached yet is pulled."""
    if (SHIPPED / str(name) / CONFIG).exists():
        return SHIPPED / str(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / CONFIG).exists():
            raise ValueError(f"{folder} holds no {CONFIG}, so it is not a kiloword checkpoint")
        return folder
    if str(name).partition("/")[0] in published.names():
        folder = pulled(str(name))
        if not (folder / CONFIG).exists():
            raise ValueError(f"{name} has not been pulled yet: kiloword pull {name}")
        return folder
    if str(name).count("/") == 1 and not str(name).startswith((".", "/", "~")):
        return pull(str(name))
    near = get_close_matches(str(name), [*shipped(), *published.names()], n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else "give one of them, a folder, or owner/name on the hub"
    raise ValueError(f"there is no model {str(name)!r}: {hint} (shipped: {', '.join(shipped()) or 'none'})")


def fingerprint(folder: Path) -> str:
    """The SHA-256 of a checkpoint's weights."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def pull(name: str) -> Path:
    """Fetch a checkpoint from the Hugging Face hub into its cache. Raises ValueError when that fails."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, JUDGE]))
    except LocalEntryNotFoundError as error:
        raise ValueError(f"{name} is not in the cache and the hub cannot be reached: {_line(error)}") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ValueError(f"{name} could not be pulled from the hub: {_line(error)}") from error


def pulled(name: str) -> Path:
    """The folder in the cache where a published system ("page" or "page/variant") lies once it has been pulled."""
    page, variant = published.variant(name)
    return _cache() / page.name / variant


def pulled_models() -> list[str]:
    """Names of the published systems that draw and have been pulled."""
    folders = sorted(path.parent for path in _cache().glob(f"*/*/{CONFIG}"))
    return [f"{path.parent.name}/{path.name}" for path in folders if "model" in _read(path / CONFIG)]


def _cache() -> Path:
    from kiloword.data.user_cache import cache_dir

    return cache_dir() / "published"


def pull_published(
    name: str,
    given: Sequence[Path] = (),
    out: Path | None = None,
    report: Callable[[str, int, int | None], None] = lambda file, done, total: None,
) -> Path:
    """Write a published system as a checkpoint, from its authors' files: fetched ones, or those `given`.

    `report` is called with a file's name, bytes done and bytes in all. Raises ValueError, with nothing written, if the
    files are not what they should be.
    """
    from kiloword.data.user_cache import cache_dir

    page, variant = published.variant(name)
    folder, chosen = out or pulled(name), page.variants[variant]
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= {CONFIG, WEIGHTS}):
        raise ValueError(f"{folder} is there and is no checkpoint's folder: name a new one with --out")
    paths = arrange(list(given), chosen) if given else []
    for file in () if given else chosen.files:
        paths.append(fetch(file, cache_dir() / "files" / page.name, partial(report, file.name)))
    config, system = convert(page, variant, paths)
    title = f"{page.name}/{variant}"
    if page.card is None:
        save_tokenizer(folder, system, config, TokenizerCard(title, page.licence, chosen.about, page.name))
    else:
        assert isinstance(system, ImageModel)
        card = page.card(variant)
        facts = {"licence": card.licence or page.licence, "about": card.about or chosen.about}
        save(folder, system, dataclasses.replace(card, name=title, **facts), config, torch.float32)
    return folder


def save(
    folder: str | Path, model: ImageModel, card: Card, config: Any, dtype: torch.dtype = torch.float16,
    judge: ContrastiveJudge | None = None,
) -> None:  # fmt: skip
    """Write a model as a checkpoint: the folder appears, or is replaced, only once all files are on disk.

    `config` is what the model was built from, `dtype` the format of the numbers on disk.
    """
    values = {"format": parts.FORMAT, "card": dataclasses.asdict(card), "model": parts.to_json(config)}
    modules: dict[str, torch.nn.Module] = {WEIGHTS: model}
    if judge is not None:
        values["judge"], modules[JUDGE] = parts.to_json(judge.config), judge
    _write(Path(folder), modules, values, dtype)


def save_tokenizer(
    folder: str | Path, tokenizer: torch.nn.Module, config: Any, card: TokenizerCard, dtype: torch.dtype = torch.float32
) -> None:
    """Write a tokenizer by itself, as a whole or not at all."""
    values = {"format": parts.FORMAT, "card": dataclasses.asdict(card), "tokenizer": parts.to_json(config)}
    _write(Path(folder), {WEIGHTS: tokenizer}, values, dtype)


def _write(folder: Path, modules: dict[str, torch.nn.Module], values: dict[str, Any], dtype: torch.dtype) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}-{os.getpid()}.part"
    temporary.mkdir()
    try:
        for file, module in modules.items():
            tensors = _apart({name: _stored(value, dtype) for name, value in module.state_dict().items()})
            save_file(tensors, temporary / file)
            (temporary / file).chmod(0o644)
        (temporary / CONFIG).write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        old = folder.with_name(f".{folder.name}-old")
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_config(folder: Path) -> tuple[Any, Card]:
    """The parts and the card of a model's checkpoint."""
    path = folder / CONFIG
    values = _read(path)
    if "tokenizer" in values:
        raise ValueError(f"{path} describes a tokenizer, not a model that draws")
    if "model" not in values:
        raise ValueError(f"{path} is not a kiloword config: format, card and model are needed")
    model = _described(path, values["model"])
    try:
        card = Card(**{**values["card"], "sizes": tuple(map(tuple, values["card"]["sizes"]))})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: {_line(error)}") from error
    if not isinstance(model, parts.ImageModelConfig) or not card.sizes:
        raise ValueError(f"{path} does not describe an image model with the sizes that it draws")
    return model, card


def _described(path: Path, values: Any) -> Any:
    """The part that a config.json describes."""
    try:
        return parts.from_json(values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: {_line(error)}") from error


def read_tokenizer_config(folder: Path) -> tuple[Any, TokenizerCard]:
    """The parts and the card of a tokenizer's checkpoint, or of the picture tokenizer of a model's."""
    path = folder / CONFIG
    values = _read(path)
    if "model" in values:
        model, card = read_config(folder)
        return model.picture.tokenizer, TokenizerCard(card.name, card.licence, card.about)
    try:
        config, card = parts.from_json(values["tokenizer"]), TokenizerCard(**values["card"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: {_line(error)}") from error
    if not isinstance(config, TokenizerConfig):
        raise ValueError(f"{path} does not describe a tokenizer")
    return config, card


def _read(path: Path) -> dict[str, Any]:
    """A config.json of this format."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {_line(error)}") from error
    if not isinstance(values, dict) or not {"format", "card"} <= values.keys():
        raise ValueError(f"{path} is not a kiloword config: format, card and model are needed")
    if values["format"] != parts.FORMAT:
        raise ValueError(f"{path} has format {values['format']}; this kiloword reads {parts.FORMAT}: update kiloword")
    return values


def put_weights(module: torch.nn.Module, path: Path) -> None:
    """Load weights into a module, as numbers of its own format. Raises ValueError naming what does not fit."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {_line(error)}") from error
    known = module.state_dict()
    tensors = aliases.weights_of(tensors, known)
    missing, extra = sorted(known.keys() - tensors.keys()), sorted(tensors.keys() - known.keys())
    if missing or extra:
        raise ValueError(
            f"{path} does not fit its config: {len(missing)} weights missing {missing[:3]}, "
            f"{len(extra)} unknown {extra[:3]}"
        )
    for name, value in tensors.items():
        if value.shape != known[name].shape:
            raise ValueError(f"{path}: {name} has shape {list(value.shape)}, its config says {list(known[name].shape)}")
        if not torch.isfinite(value).all():
            raise ValueError(f"{path}: {name} holds NaN or infinity")
    module.load_state_dict({name: value.to(known[name].dtype) for name, value in tensors.items()})


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers, but no two tensors share their memory, as tied weights do."""
    first = {value.data_ptr(): name for name, value in reversed(tensors.items())}
    return {name: value if first[value.data_ptr()] == name else value.clone() for name, value in tensors.items()}


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.detach().to(dtype if value.is_floating_point() else value.dtype).contiguous()


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
