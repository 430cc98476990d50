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
    model: Annotated[
        str | None, Option(help="A shipped model, a folder, or owner/name on the hub. Default: emoji-64.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Describe pictures in words: one line each, after the file's name if there are several."""
    from kiloword.pictures import open_picture

    images = [open_picture(path) for path in pictures]
    from kiloword import checkpoint

    painter = checkpoint.load(model or checkpoint.DEFAULT)
    described = []
    for path, image in zip(pictures, images, strict=True):
        described.append({"path": str(path), "description": painter.describe(image)})
        if not as_json:
            description = described[-1]["description"]
            print(description if len(pictures) == 1 else f"{path}\t{description}")
    if as_json:
        print(json.dumps({"model": painter.card.name, "pictures": described}, ensure_ascii=False))
