"""Recipes by name: loaded, or carried out from the data to a checkpoint.

Source: defined here; each recipe cites its own.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from kiloword.recipes.recipe_names import DECODERS, FAMILIES, MODELS, TOKENIZERS, names


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
        from kiloword.datasets.user_cache import ensure_emoji

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
    if name in TOKENIZERS:
        from kiloword.recipes.tokenizers import tokenizer_recipe

        return tokenizer_recipe(name)
    if name in FAMILIES:
        from kiloword.recipes.families import family

        return family(name)
    module, function = (MODELS | DECODERS)[name].split(":")
    return getattr(import_module(module), function)()
