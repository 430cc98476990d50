"""`kiloword train`: train a recipe from scratch, or fine-tune a model on your own pictures."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from kiloword.cli.messages import Stopped, say
from kiloword.engine.cpu.threads import TRAINING, wait_briefly
from kiloword.nearest import did_you_mean

EXAMPLES = """Example: kiloword train emoji-64 --out runs/mine --set training.batch=64

Example: kiloword train emoji-64 --data my-pictures --set data.vocabulary=1000

Example: kiloword train --data my-pictures --from emoji-64

Example: kiloword train decoder-128 --from emoji-64

Example: kiloword train emoji-llamagen --tokenizer runs/tokenizer-vq/checkpoint

Example: kiloword train emoji-64 --from emoji-64 --set training.iterations=4000

Example: kiloword train emoji-64 --devices 2 --strategy fsdp"""


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(train)


def train(
    recipe: Annotated[
        str | None, Argument(help="A recipe's name. With --from: train that model further on the recipe's data.")
    ] = None,
    data: Annotated[
        Path | None,
        Option(help="Captioned pictures: a folder, tar shards (webdataset) or parquet. Default: the emoji set."),
    ] = None,
    start: Annotated[
        str | None, Option("--from", help="A model to fine-tune: shipped, a folder, or owner/name on the hub.")
    ] = None,
    tokenizer: Annotated[
        str | None, Option(help="A trained tokenizer to use, instead of training the recipe's.")
    ] = None,
    out: Annotated[
        Path | None, Option(help="Folder of the run. Default: runs/RECIPE, or runs/DATA-from-MODEL.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe, as in training.batch=64."),
    ] = None,
    devices: Annotated[int, Option(help="How many devices share each batch, one process each.")] = 1,
    strategy: Annotated[
        str, Option(help="With several devices: ddp (weights on each), fsdp (split among them); auto is ddp.")
    ] = "auto",
) -> None:
    """Train a model. The checkpoint's folder is printed; the same command resumes a run that was stopped."""
    wait_briefly(TRAINING)
    _check(recipe, data, start, tokenizer)
    fields = dict(field(change) for change in changes or [])
    from kiloword.cli.malloc import keep_freed
    from kiloword.cli.progress import progress
    from kiloword.recipes import registry

    out = out or Path("runs") / (recipe or f"{Path(str(data)).resolve().name}-from-{Path(str(start)).name}")
    keep_freed()
    try:
        with progress() as report:
            folder = registry.run(
                recipe, data=data, out=out, start=start, tokenizer=tokenizer, changes=fields, report=report,
                devices=devices, strategy=strategy,
            )  # fmt: skip
    except KeyboardInterrupt:
        raise Stopped(f"the run is saved in {out}, the same command goes on from there") from None
    if not _is_first():
        return
    if recipe is not None and recipe.startswith("tokenizer-"):
        say(f"look at it: kiloword tokens roundtrip IMAGE --model {folder}")
    else:
        say(f'draw with it: kiloword generate "a red apple" --model {folder}')
    print(folder)


def _check(recipe: str | None, data: Path | None, start: str | None, tokenizer: str | None) -> None:
    """Raise ValueError for options that do not go together, and for names of nothing."""
    if recipe is None and start is None:
        raise ValueError("say what to train: a recipe, or --data DIR --from MODEL")
    if recipe is None and data is None:
        raise ValueError(f"--from {start} needs pictures to train on: --data DIR")
    if recipe is None and tokenizer is not None:
        raise ValueError(f"--tokenizer {tokenizer} is for a recipe: {start} has its own")
    if data is not None and not data.exists():
        raise ValueError(f"--data {data} is not a folder or file: name the one that holds the pictures")
    from kiloword.recipes.recipe_names import names

    if recipe is not None and recipe not in names():
        hint = did_you_mean(recipe, names())
        raise ValueError(f"there is no recipe {recipe!r}{hint} (recipes: {', '.join(names())})")


def _is_first() -> bool:
    """Whether this is rank 0 of a distributed training (or the only process); ends the process group."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return True
    first = distributed.get_rank() == 0
    distributed.destroy_process_group()
    return first


def field(change: str) -> tuple[str, str]:
    """Name and value of a FIELD=VALUE."""
    name, equals, value = change.partition("=")
    if not (name.strip() and equals):
        raise ValueError(f"--set {change!r} is not FIELD=VALUE: write it like training.batch=64")
    return name.strip(), value.strip()
