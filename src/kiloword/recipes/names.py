"""The names of all recipes; what they stand for is imported when one is asked for, so that the list costs nothing."""

from importlib import import_module
from typing import Any

MODELS = {
    "dalle-64": "kiloword.recipes.dalle:dalle_64",
    "emoji-64": "kiloword.recipes.emoji:emoji_64",
    "transfusion-64": "kiloword.recipes.transfusion:transfusion_64",
}
DECODERS = {"decoder-128": "kiloword.recipes.decoders:decoder_128"}
FAMILIES = (
    "emoji-glm", "emoji-igpt", "emoji-infinity", "emoji-llamagen", "emoji-mar", "emoji-metamorph", "emoji-unitok",
    "emoji-var",
)  # fmt: skip
SORTS = ("bsq", "bsq-scales", "fsq", "fsq-4", "gumbel", "kl", "multicode", "residual", "rq", "vq")  # of quantizers
TOKENIZERS = ("tokenizer-palette", *(f"tokenizer-{sort}{network}" for sort in SORTS for network in ("", "-cnn")))


def names() -> list[str]:
    """The recipes that can be carried out."""
    return sorted((*MODELS, *DECODERS, *FAMILIES, *TOKENIZERS))


def load(name: str) -> Any:
    """The recipe of that name."""
    if name in TOKENIZERS:
        return import_module("kiloword.recipes.tokenizers").tokenizer_recipe(name)
    if name in FAMILIES:
        return import_module("kiloword.recipes.families").family(name)
    module, function = (MODELS | DECODERS)[name].split(":")
    return getattr(import_module(module), function)()
