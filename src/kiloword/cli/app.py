"""The table of commands; the modules named here import neither torch nor a model before a command runs."""

from typing import Annotated, Any

import typer

from kiloword import __version__
from kiloword.cli import (
    bench,
    clean,
    data,
    describe,
    evaluate,
    generate,
    models,
    orders,
    pull,
    study,
    train,
    verify,
)
from kiloword.cli.tokens import commands as tokens

HELP = "Draw pictures from words, describe pictures in words, and train the model that does both."


def command() -> Any:
    """The whole command line as one command."""
    app = typer.Typer(help=HELP, epilog='Example: kiloword generate "a red apple" -o apple.png', **PLAIN)
    app.callback()(_options)
    for module in (generate, describe, clean, train, evaluate, bench, models, pull, verify):
        module.add(app)
    data.add(app)
    tokens.add(app)
    orders.add(app)
    study.add(app)
    return typer.main.get_command(app)


PLAIN: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": "rich"}


def _version(requested: bool) -> bool:
    if requested:
        print(f"kiloword {__version__}")
        raise typer.Exit()
    return requested


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of `kiloword` itself, before any command."""
