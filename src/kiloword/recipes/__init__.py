"""One function per trainable model, and the way to carry it out."""

from collections.abc import Callable
from pathlib import Path

NAMES = {
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
    return sorted((*NAMES, *DECODERS, *FAMILIES, *TOKENIZERS))


def run(
    name: str | None,
    *,
    data: Path | None,
    out: Path,
    start: str | None = None,
    tokenizer: str | None = None,
    changes: dict[str, str] | None = None,
    report: Callable[[str, int, int, dict[str, float]], None] = lambda stage, iteration, iterations, figures: None,
) -> Path:
    """Carry out a recipe, with `start` from that model's weights on; without a recipe, fine-tune `start` on `data`.

    `tokenizer` names one that is there, to be used as it is. The checkpoint's folder is returned.
    `report` hears of the stage, the iteration, their number and the latest figures.
    """
    from kiloword.recipes import finetune, recipe
    from kiloword.recipes.model_run import train_recipe

    if name is None and start is not None:
        if data is None:
            raise ValueError("fine-tuning needs a folder of pictures: give --data DIR")
        return finetune.finetune(start, data, out, changes or {}, report)
    if name not in names():
        raise ValueError(f"there is no recipe {name!r}; there are: {', '.join(names())}")
    if tokenizer is not None and (start is not None or name in TOKENIZERS or name in DECODERS):
        which = f"goes on from {start}" if start is not None else f"is {name}"
        raise ValueError(f"a tokenizer is given to a model that is taught anew; what is taught here {which}")
    wanted = recipe.changed(load(name), changes or {})
    if data is None:
        from kiloword.data.cache import ensure_emoji

        data = ensure_emoji()
    if name in TOKENIZERS:
        from kiloword.recipes.tokenizer_run import train_tokenizer

        return train_tokenizer(wanted, data, out, report, start)
    if name in DECODERS:
        from kiloword.recipes.decoders import train_decoder

        return train_decoder(wanted, data, out, report, start)
    return train_recipe(wanted, data, out, report, start, tokenizer)


def load(name: str):
    """The recipe of that name."""
    from importlib import import_module

    if name in TOKENIZERS:
        from kiloword.recipes.tokenizers import tokenizer_recipe

        return tokenizer_recipe(name)
    if name in FAMILIES:
        from kiloword.recipes.families import family

        return family(name)
    module, function = (NAMES | DECODERS)[name].split(":")
    return getattr(import_module(module), function)()
