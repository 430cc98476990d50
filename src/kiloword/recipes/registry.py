"""Carrying out a recipe by its name: what is to be trained is checked, the processes are started, the right run begins.

Source: defined here. What trains is imported only when it runs: the command line lists names only.
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
    strategy: str = "auto",
    devices: int = 1,
) -> Path:
    """Carry out a recipe, with `start` from that model's weights on; without a recipe, fine-tune `start` on `data`.

    `data` is any data set that `open_dataset` reads; without one it is the emoji set. `tokenizer` names one that is
    there, to be used as it is. `report` is called with the stage, iteration, number of iterations and latest figures.
    `strategy` and `devices` are those of `context.launched`. The checkpoint's folder is returned, in all processes.
    """
    if name is None and start is not None and data is None:
        raise ValueError("fine-tuning needs pictures: give --data DIR")
    if not (name is None and start is not None) and name not in names():
        raise ValueError(f"there is no recipe {name!r}; there are: {', '.join(names())}")
    if tokenizer is not None and (start is not None or name in TOKENIZERS or name in DECODERS):
        which = f"goes on from {start}" if start is not None else f"is {name}"
        raise ValueError(
            f"a tokenizer is given to a model that is trained from the start; what is trained here {which}"
        )
    from kiloword.recipes.context import launched
    from kiloword.recipes.recipe import changed

    wanted = None if name is None else changed(load(name), changes or {})
    context = launched(out, report, strategy, devices)
    with context.first_process_first():
        data = _emoji() if data is None else data
    if wanted is None:
        from kiloword.recipes.finetune import finetune

        return finetune(str(start), data, context, changes or {})
    if name in TOKENIZERS:
        from kiloword.recipes.tokenizer_run import train_tokenizer

        return train_tokenizer(wanted, data, context, start)
    if name in DECODERS:
        from kiloword.recipes.decoder_run import train_decoder

        return train_decoder(wanted, data, context, start)
    from kiloword.recipes.model_run import train_recipe

    return train_recipe(wanted, data, context, start, tokenizer)


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


def _emoji() -> Path:
    from kiloword.data.user_cache import ensure_emoji

    return ensure_emoji()
