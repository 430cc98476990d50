"""`kiloword describe`: pictures in, words out."""

import json
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

EXAMPLE = "Example: kiloword describe apple.png holiday/*.jpg"


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLE)(describe)


def describe(
    pictures: Annotated[list[Path], Argument(metavar="PICTURE...", help="Picture files.", show_default=False)],
    model: Annotated[str | None, Option(help="A shipped model, a folder, or owner/name on the hub.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Say what pictures show: one line each, after the file's name where there are several."""
    from kiloword.pictures import open_picture

    images = [open_picture(path) for path in pictures]
    from kiloword import checkpoint

    painter = checkpoint.load(model or checkpoint.DEFAULT)
    told = []
    for path, image in zip(pictures, images, strict=True):
        told.append({"path": str(path), "description": painter.describe(image)})
        if not as_json:
            print(told[-1]["description"] if len(pictures) == 1 else f"{path}\t{told[-1]['description']}")
    if as_json:
        print(json.dumps({"model": painter.card.name, "pictures": told}, ensure_ascii=False))
