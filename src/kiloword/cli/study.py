"""`kiloword study`: comparisons of many trainings or settings, and their reports."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from typer import Argument, Option

from kiloword.cli.messages import Stopped, say
from kiloword.cli.train import field

Out = Annotated[Path | None, Option(help="Folder of the study. Default: runs/study-NAME-BUDGET.")]
Data = Annotated[Path | None, Option(help="Folder of shards. Default: the emoji set, built in the cache folder.")]
Changes = Annotated[
    list[str] | None, Option("--set", metavar="FIELD=VALUE", help="Change a field of the budget, as in seen=24000.")
]
EXAMPLE = """Example: kiloword study tokenizers --budget quick --only vq,fsq

Example: kiloword study tokenizers --out runs/tokenizers --set seen=24000

Example: kiloword study decoders runs/decoder-128/checkpoint --pictures 256

Example: kiloword study generators --budget cpu --only vq-raster,kl-denoise --set teaching.minutes=10

Example: kiloword study scaling --out runs/scaling --set seen=24000"""


def add(app: typer.Typer) -> None:
    group = typer.Typer(help="Compare many models, or many settings of one, at equal cost.", epilog=EXAMPLE)
    group.callback()(_group)
    group.command("tokenizers", epilog=EXAMPLE)(tokenizers)
    group.command("decoders", epilog=EXAMPLE)(decoders)
    group.command("generators", epilog=EXAMPLE)(generators)
    group.command("scaling", epilog=EXAMPLE)(scaling)
    app.add_typer(group, name="study")


def _group() -> None:
    """Compare many models, or many settings of one, at equal cost."""


def tokenizers(
    budget: Annotated[str, Option(help="quick (a minute or two each), cpu (12 minutes each), or gpu.")] = "cpu",
    out: Out = None,
    only: Annotated[str | None, Option(help="Some tokenizers, as in vq,fsq. Default: all.")] = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """Train every tokenizer on the same pictures and write a report with a table, a plot and a sheet.

    Finished models are not trained again; the same command resumes a stopped study. The report's path is printed.
    """
    from kiloword.studies import tokenizer_study as study

    _named("tokenizers", study, StudyOptions(budget, out, data, changes or []), only)


def generators(
    budget: Annotated[str, Option(help="quick (2 minutes each), cpu (25 minutes each, 14 trainings), or gpu.")] = "cpu",
    out: Out = None,
    only: Annotated[str | None, Option(help="Some systems, as in vq-raster,kl-denoise. Default: all.")] = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """Train six systems that draw for the same time and write a report with tables, plots and a sheet.

    Finished models are not trained again; the same command resumes a stopped study. The report's path is printed.
    """
    from kiloword.studies import generator_study as study

    _named("generators", study, StudyOptions(budget, out, data, changes or []), only)


def scaling(
    budget: Annotated[str, Option(help="quick (some minutes), cpu (hours), or gpu.")] = "cpu",
    out: Out = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """Train one generator at several sizes, predict a larger one's loss, and write a report with laws and plots.

    Finished models are not trained again; the same command resumes a stopped study. The report's path is printed.
    """
    import_module("scipy")  # needed for the fits: fail before anything is trained
    from kiloword.studies import scaling as study

    options = StudyOptions(budget, out, data, changes or [])
    settings, out = _settings("scaling", study, options)
    _carried_out(options, out, lambda folder, report: study.run(settings, folder, out, report))


def decoders(
    model: Annotated[str, Argument(help="A model with a diffusion decoder: a folder, or its name.")],
    out: Annotated[Path | None, Option(help="Folder of the study. Default: runs/study-decoders-MODEL.")] = None,
    pictures: Annotated[int, Option(help="How many held-out pictures each setting decodes.")] = 256,
    data: Data = None,
) -> None:
    """Decode the same tokens with every setting and write a report with tables, a plot, a sheet and a strip.

    Finished settings are not measured again; the same command resumes a stopped study. The report's path is printed.
    """
    if pictures < 2:
        raise ValueError(f"--pictures is {pictures}: a kernel distance takes 2 or more")
    if data is not None and not data.is_dir():
        raise ValueError(f"--data {data} is not a folder: name the folder that holds the shards")
    from kiloword.cli.progress import progress
    from kiloword.studies import decoder_study as study

    painter, weights = study.open_model(model)
    out = out or Path("runs") / f"study-decoders-{painter.card.name}"
    try:
        with progress() as report:
            path = study.run(painter, weights, data or _emoji(report), out, pictures, report)
    except KeyboardInterrupt:
        raise Stopped(f"what was measured is in {out}, the same command goes on from there") from None
    say(f"the tables are in {path}, beside it are the plot, the sheet and the strip")
    print(path)


@dataclass(frozen=True)
class StudyOptions:
    """The options that all studies with budgets have in common."""

    budget: str
    out: Path | None
    data: Path | None
    changes: list[str]


def _settings(name: str, study: ModuleType, options: StudyOptions) -> tuple[Any, Path]:
    """The budget with its changes, and the study's folder. Raises ValueError for an unknown budget."""
    fields = dict(field(change) for change in options.changes)
    if options.data is not None and not options.data.is_dir():
        raise ValueError(f"--data {options.data} is not a folder: name the folder that holds the shards")
    from kiloword.recipes.recipe import changed

    if options.budget not in study.BUDGETS:
        raise ValueError(f"--budget {options.budget} is none of {', '.join(study.BUDGETS)}")
    out = options.out or Path("runs") / f"study-{name}-{options.budget}"
    return changed(study.BUDGETS[options.budget], fields), out


def _named(name: str, study: ModuleType, options: StudyOptions, only: str | None) -> None:
    """Run a study of all its systems, or of those named in `only`, separated by commas."""
    names = [one.strip() for one in only.split(",") if one.strip()] if only is not None else list(study.NAMES)
    settings, out = _settings(name, study, options)
    study.check_names(names)
    _carried_out(options, out, lambda folder, report: study.run(settings, folder, out, names, report))


def _carried_out(options: StudyOptions, out: Path, run: Callable[[Path, Any], Path]) -> None:
    """Run a study on its pictures and print the path of its report."""
    from kiloword.cli.malloc import keep_freed
    from kiloword.cli.progress import progress

    keep_freed()
    try:
        with progress() as report:
            path = run(options.data or _emoji(report), report)
    except KeyboardInterrupt:
        raise Stopped(f"the study is saved in {out}, the same command goes on from there") from None
    say(f"the table is in {path}, the pictures beside it")
    print(path)


def _emoji(report) -> Path:
    from kiloword.data.user_cache import ensure_emoji

    return ensure_emoji(progress=lambda done, total: report("pictures rendered", done, total, {}))
