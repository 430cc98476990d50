"""Aliases: what the tags, fields, values and weights of older checkpoints, runs and `--set` are called today.

Old names stay readable, and are never written. A tag never changes its meaning; an alias is one more name for it.
"""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")

TAGS = {
    "adaln-exit": "adaln-output",
    "grown": "extended-vocab",
    "joint": "shared-vocab",
    "spelled": "raster-1d",
    "seated-entrance": "position-entrance",
    "spoken": "chat-template",
    "text-memory": "text-context",
}  # parts of a config.json
FIELDS = {
    "both_ways": "task",
    "exit_modulation": "output_modulation",
    "glance": "preview",
    "lesson": "task",
    "listening": "cross_attention",
    "place": "position_of",
    "places": "positions",
    "rows": "positions",
    "seat": "position_of",
}  # of parts and recipes: wherever a config has the new field and not the old one
VALUES = {("position_of", "asked"): "target"}  # of a field under its name of today
WEIGHTS = {
    "coarse_places": "coarse_positions",
    "decoder_places": "decoder_positions",
    "encoder_places": "encoder_positions",
    "exit": "output",
    "exit_modulation": "output_modulation",
    "fine_places": "fine_positions",
    "guide_exit": "guide_output",
    "listening": "cross_attention",
    "place": "position",
    "places": "positions",
    "word_place": "text_position",
}  # modules on the way to a weight: `head.exit.weight`


def field_of(name: str, known: Collection[str]) -> str:
    """The field among the `known` ones that a name means; the name itself if none is."""
    new = FIELDS.get(name, name)
    return new if name not in known and new in known else name


def value_of(field: str, value: Value) -> Value | str:
    """What a value of a field is called today."""
    return VALUES.get((field, value), value) if isinstance(value, str) else value


def renamed(values: Any) -> Any:
    """JSON with every part and field under its name of today, for settings that are compared as a whole."""
    if isinstance(values, list):
        return [renamed(value) for value in values]
    if not isinstance(values, dict):
        return values
    new = {FIELDS.get(name, name): renamed(value) for name, value in values.items()}
    new = {name: value_of(name, value) for name, value in new.items()}
    return {**new, "part": TAGS.get(new["part"], new["part"])} if "part" in new else new


def weights_of(tensors: Mapping[str, Value], known: Collection[str]) -> dict[str, Value]:
    """The same tensors, each under its name of today wherever a module knows that one and not the old."""
    return {_weight(name, known): value for name, value in tensors.items()}


def _weight(name: str, known: Collection[str]) -> str:
    if name in known:
        return name
    new = ".".join(WEIGHTS.get(module, module) for module in name.split("."))
    return new if new in known else name
