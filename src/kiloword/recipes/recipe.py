"""Recipe: everything that determines a trained model, as one frozen value; the record of a run is its JSON."""

import dataclasses
import typing
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from kiloword import aliases
from kiloword.parts import ImageModelConfig
from kiloword.tokenizers.judge import JudgeConfig
from kiloword.training.loop import TrainingConfig
from kiloword.training.tasks.image_model_task import ImageModelTaskConfig
from kiloword.training.tasks.tokenizer_task import ReconstructionConfig


@dataclass(frozen=True)
class DataConfig:
    """The pictures of a recipe: their side in pixels, random versions of each, text pieces, weight of skin tones.

    With `pictures`, at most so many are trained on, none of which has a skin tone.
    """

    side: int = 64
    versions: int = 8
    vocabulary: int = 4096
    toned: float = 0.7  # what all skin tones of one (subject, style) weigh together, beside 1 for the plain picture
    leave_out: tuple[str, ...] = ()  # styles that are not trained on
    pictures: int = 0

    def __post_init__(self):
        if self.side < 8 or self.versions < 1 or self.vocabulary < 300 or self.pictures < 0:
            raise ValueError(f"side starts at 8, versions at 1, vocabulary at 300, pictures at 0 (all): {self}")


@dataclass(frozen=True)
class Recipe:
    """A model's parts (the text's merges are filled in from the data) and how its two halves are trained.

    A `judge`, trained last, chooses among candidates where the model itself cannot.
    """

    name: str
    about: str
    model: ImageModelConfig
    data: DataConfig
    tokenizer_training: TrainingConfig
    training: TrainingConfig
    decoder_training: TrainingConfig | None = None  # more for the decoder alone: the tokens stay what they are
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    task: ImageModelTaskConfig = ImageModelTaskConfig()
    judge: JudgeConfig | None = None
    judge_training: TrainingConfig = TrainingConfig(500)


def changed(config: Any, changes: dict[str, str]) -> Any:
    """A config with some fields changed, each named by its path: {"training.batch": "64"}."""
    for path, value in changes.items():
        config = _set(config, path.split("."), value, path)
    return config


def _set(config: Any, path: list[str], value: str, whole: str) -> Any:
    if not is_dataclass(config) or isinstance(config, type):
        raise ValueError(f"{whole}: there is nothing to set below a {type(config).__name__}")
    known = [field.name for field in fields(config)]
    path = [aliases.field_of(path[0], known), *path[1:]]
    if path[0] not in known:
        raise ValueError(f"{whole}: {type(config).__name__} has no field {path[0]!r}; it has {', '.join(known)}")
    old = getattr(config, path[0])
    if len(path) > 1:
        return replace(config, **{path[0]: _set(old, path[1:], value, whole)})
    if is_dataclass(old):
        inner = ", ".join(field.name for field in dataclasses.fields(old))
        raise ValueError(f"{whole} is a group of settings: set one of {inner}")
    return replace(config, **{path[0]: _read(aliases.value_of(path[0], value), old, whole)})


def _read(value: str, old: Any, path: str) -> Any:
    """A text as a value of the kind that stands there now."""
    if isinstance(old, tuple):
        kind = type(old[0]) if old else str
        return tuple(_read(part, kind(), path) for part in value.split(",") if part)
    kind: typing.Callable = type(old)
    try:
        return kind(value)
    except ValueError as error:
        raise ValueError(f"{path} is a {kind.__name__}, got {value!r}") from error
