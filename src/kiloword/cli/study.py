"""`kiloword study`: questions that take many trainings or settings, and their reports."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from kiloword.cli import Stopped, say
from kiloword.cli.train import field

EXAMPLE = """Example: kiloword study tokenizers --budget quick --only vq,fsq

Example: kiloword study tokenizers --out runs/tokenizers --set seen=24000

Example: kiloword study decoders runs/decoder-128/checkpoint --pictures 256"""


def add(app: typer.Typer) -> None:
    group = typer.Typer(help="Compare many models, or many settings of one, under one rule.", epilog=EXAMPLE)
    group.callback()(_group)
    group.command("tokenizers", epilog=EXAMPLE)(tokenizers)
    group.command("decoders", epilog=EXAMPLE)(decoders)
    app.add_typer(group, name="study")


def _group() -> None:
    """Compare many models, or many settings of one, under one rule."""


def tokenizers(
    budget: Annotated[str, Option(help="quick (a minute or two each), cpu (12 minutes each), or gpu.")] = "cpu",
    out: Annotated[Path | None, Option(help="Folder of the study. Default: runs/study-tokenizers-BUDGET.")] = None,
    only: Annotated[str | None, Option(help="Some tokenizers, as in vq,fsq. Default: all.")] = None,
    data: Annotated[Path | None, Option(help="Folder of shards. Default: the emoji set in the cache folder.")] = None,
    changes: Annotated[list[str] | None, Option("--set", metavar="FIELD=VALUE", help="Change the budget.")] = None,
) -> None:
    """Train every tokenizer on the same pictures and write a report with a table, a plot and a sheet.

    What is there is not trained again; the same command goes on with what was stopped. The report's file is printed.
    """
    fields = dict(field(change) for change in changes or [])
    if data is not None and not data.is_dir():
        raise ValueError(f"--data {data} is not a folder: name the folder that holds the shards")
    from kiloword.recipes.recipe import changed
    from kiloword.studies import tokenizers as study

    if budget not in study.BUDGETS:
        raise ValueError(f"--budget {budget} is none of {', '.join(study.BUDGETS)}")
    names = [name.strip() for name in only.split(",") if name.strip()] if only is not None else list(study.NAMES)
    study.check_names(names)
    settings = changed(study.BUDGETS[budget], fields)
    out = out or Path("runs") / f"study-tokenizers-{budget}"
    from kiloword.cli.progress import progress

    try:
        with progress() as report:
            data = data or _emoji(report)
            path = study.run(settings, data, out, names, report)
    except KeyboardInterrupt:
        raise Stopped(f"the study is saved in {out}, the same command goes on from there") from None
    say(f"the table is in {path}, beside it are the plot and the sheet")
    print(path)


def decoders(
    model: Annotated[str, Argument(help="A model with a diffusion decoder: a folder, or its name.")],
    out: Annotated[Path | None, Option(help="Folder of the study. Default: runs/study-decoders-MODEL.")] = None,
    pictures: Annotated[int, Option(help="How many held-out pictures each setting paints.")] = 256,
    data: Annotated[Path | None, Option(help="Folder of shards. Default: the emoji set in the cache folder.")] = None,
) -> None:
    """Paint the same tokens in every way and write a report with tables, a plot, a sheet and a strip.

    What is there is not measured again; the same command goes on with what was stopped. The report's file is printed.
    """
    if pictures < 2:
        raise ValueError(f"--pictures is {pictures}: a kernel distance takes 2 or more")
    if data is not None and not data.is_dir():
        raise ValueError(f"--data {data} is not a folder: name the folder that holds the shards")
    from kiloword.cli.progress import progress
    from kiloword.studies import decoders as study

    painter, weights = study.open_model(model)
    out = out or Path("runs") / f"study-decoders-{painter.card.name}"
    try:
        with progress() as report:
            path = study.run(painter, weights, data or _emoji(report), out, pictures, report)
    except KeyboardInterrupt:
        raise Stopped(f"what was measured is in {out}, the same command goes on from there") from None
    say(f"the tables are in {path}, beside it are the plot, the sheet and the strip")
    print(path)


def _emoji(report) -> Path:
    from kiloword.datasets.cache import ensure_emoji

    return ensure_emoji(progress=lambda done, total: report("pictures rendered", done, total, {}))
