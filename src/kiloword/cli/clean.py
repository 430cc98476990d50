"""`kiloword clean`: pictures in, the same pictures out as a diffusion decoder would have painted them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from kiloword.cli.finish import Finish
from kiloword.cli.grouped import grouped

if TYPE_CHECKING:
    from kiloword.cli.output import Target

EXAMPLES = """Example: kiloword clean blurred.png --level 0.3 -o sharp.png --model runs/decoder-128/checkpoint

Example: kiloword clean icons/*.png -o cleaned --groups 16 --overlap 1 --model runs/decoder-128/checkpoint"""


@dataclass(frozen=True)
class Cleaning:
    """What to clean up, and where it goes"""

    pictures: Annotated[list[Path], Argument(metavar="PICTURE...", help="Picture files.", show_default=False)]
    level: Annotated[float, Option(help="How much noise to start from: 0.1 changes little, 1 paints anew.")] = 0.3
    model: Annotated[
        str | None, Option(help="A model with a diffusion decoder: shipped, a folder, or owner/name on the hub.")
    ] = None
    output: Annotated[
        Path | None, Option("-o", "--output", help="A PNG file, or a folder. Default: named after the picture.")
    ] = None
    seed: Annotated[int, Option(help="The same seed gives the same picture again.")] = 0
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of the paths.")] = False


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(grouped(clean))


def clean(cleaning: Cleaning, finish: Finish) -> None:
    """Clean up pictures: fitted to the model's size, read as tokens, and painted on from some noise over them."""
    from kiloword.cli.output import write_png
    from kiloword.pictures import open_picture

    if not 0 < cleaning.level <= 1:
        raise ValueError(f"--level is {cleaning.level:g}: start above 0 (as it is) and at most at 1 (painted anew)")
    if not 0 <= cleaning.seed < 2**63:
        raise ValueError(f"--seed is {cleaning.seed}: a seed is a whole number from 0")
    images = [open_picture(path) for path in cleaning.pictures]
    for path in cleaning.pictures:
        _target(cleaning, path)
    from kiloword import checkpoint
    from kiloword.cli.finish import effort_of, without
    from kiloword.cli.messages import say
    from kiloword.cli.stop import check
    from kiloword.engine.cleaning import clean as cleaned

    model = cleaning.model or checkpoint.DEFAULT
    folder = checkpoint.find(model)
    config, card = checkpoint.read_config(folder)
    if config.decoder is None:
        raise ValueError(without(model))
    effort = effort_of(finish, config.decoder, model)
    painter, done = checkpoint.load(folder), []
    for path, image in zip(cleaning.pictures, images, strict=True):
        check()
        picture = cleaned(painter, image, cleaning.level, effort, cleaning.seed)
        if picture.size != image.size:
            say(f"{path}: {image.width}x{image.height} pixels became {picture.width}x{picture.height}")
        out = _target(cleaning, path).path(0)
        texts = {"cleaned": path.name, "level": f"{cleaning.level:g}", "seed": str(cleaning.seed), "model": card.name}
        write_png(out, picture, {"Software": "kiloword", **texts})
        done.append({"path": str(out), "picture": str(path), "size": f"{picture.width}x{picture.height}"})
        if not cleaning.as_json:
            print(out)
    if cleaning.as_json:
        print(json.dumps({"model": card.name, "level": cleaning.level, "pictures": done}, ensure_ascii=False))


def _target(cleaning: Cleaning, path: Path) -> "Target":
    """The file of a cleaned picture; asked before the work, and again when it is written, as names are given away."""
    from kiloword.cli.output import target

    output, n = cleaning.output, len(cleaning.pictures)
    if n > 1 and output is not None and not output.is_dir():
        raise ValueError(f"{output} is no folder, and there are {n} pictures: name a folder that is there with -o")
    return target(output, f"{path.stem} clean", 1)
