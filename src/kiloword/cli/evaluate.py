"""`kiloword evaluate`: how well a model draws and describes, in figures and on a sheet."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

EXAMPLE = "Example: kiloword evaluate emoji --prompts 300 --json > figures.json"
DETAILS = ("look_alikes", "styles", "settings")  # in the JSON only


def add(app: typer.Typer) -> None:
    group = typer.Typer(help="Measure how well a model draws and describes.", epilog=EXAMPLE)
    group.callback()(_group)  # a group even with a single command
    group.command("emoji", epilog=EXAMPLE)(emoji)
    app.add_typer(group, name="evaluate")


def _group() -> None:
    """Measure how well a model draws and describes."""


def emoji(
    model: Annotated[
        str | None, Option(help="A shipped model, a folder, or owner/name on the hub. Default: emoji-64.")
    ] = None,
    data: Annotated[Path | None, Option(help="The emoji set. Default: built in the cache folder.")] = None,
    prompts: Annotated[
        int, Option(help="How many prompts of each split (training, held-out pairs, held-out subjects).")
    ] = 300,
    seed: Annotated[int, Option(help="The seed for choosing prompts and drawing pictures.")] = 0,
    best_of: Annotated[
        int, Option(help="Draw this many for each prompt and keep the one the model scores highest.")
    ] = 1,
    as_json: Annotated[bool, Option("--json", help="Print all figures as one JSON object, not a table.")] = False,
    sheet: Annotated[Path | None, Option(help="Also write a PNG of drawn, true and nearest training pictures.")] = None,
    record: Annotated[Path | None, Option(help="Also write a file with a line of JSON for each picture drawn.")] = None,
) -> None:
    """Measure subject accuracy, descriptions, reconstruction, memorisation and speed on emoji."""
    if prompts < 1 or seed < 0:
        raise ValueError(f"--prompts is {prompts} and --seed {seed}: take at least 1 prompt and a seed from 0")
    if best_of < 1:
        raise ValueError(f"--best-of is {best_of}: draw at least 1")
    from kiloword.cli.output import check_folder

    for path in filter(None, (sheet, record)):
        check_folder(path.parent)
    from kiloword import checkpoint
    from kiloword.cli.progress import progress
    from kiloword.data.user_cache import ensure_emoji
    from kiloword.evaluation import evaluate_emoji

    painter = checkpoint.load(model or checkpoint.DEFAULT)
    with progress() as report:
        data = data or ensure_emoji(progress=lambda done, total: report("pictures rendered", done, total, {}))
        figures = evaluate_emoji(
            painter, data, prompts=prompts, seed=seed, candidates=best_of, sheet=sheet, record=record,
            progress=lambda what, done, total: report(what, done, total, {}),
        )  # fmt: skip
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
    else:
        _print(figures)


def _print(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "figure", "value", box=None)
    for section, values in figures.items():
        if section in DETAILS:
            continue
        for name, value in _flat(values):
            table.add_row(section, name, value)
            section = ""
    Console(soft_wrap=True).print(table)


def _flat(values: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(values, dict):
        return [row for key, value in values.items() for row in _flat(value, f"{name} {key}".strip())]
    return [(name, f"{values:.4g}" if isinstance(values, float) else str(values))]
