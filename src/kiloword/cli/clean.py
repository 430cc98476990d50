"""`kiloword clean`: pictures in, the same pictures out as a diffusion decoder draws them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from kiloword.cli.finish import DecoderOptions
from kiloword.cli.grouped import grouped

if TYPE_CHECKING:
    from kiloword.cli.output import Target

EXAMPLES = """Example: kiloword clean blurred.png --level 0.3 -o sharp.png --model runs/decoder-128/checkpoint

Example: kiloword clean icons/*.png -o cleaned --groups 16 --overlap 1 --model runs/decoder-128/checkpoint"""


@dataclass(frozen=True)
class CleaningOptions:
    """Pictures to clean up, and output files"""

    pictures: Annotated[list[Path], Argument(metavar="PICTURE...", help="Picture files.", show_default=False)]
    level: Annotated[
        float, Option(help="Noise level to start from, above 0 to 1: 0.1 changes little, 1 ignores the pixels.")
    ] = 0.3
    model: Annotated[
        str | None,
        Option(
            help="A model with a diffusion decoder: shipped, a folder, or owner/name on the hub. Default: emoji-64."
        ),
    ] = None
    output: Annotated[
        Path | None, Option("-o", "--output", help="A PNG file, or a folder. Default: named after the picture.")
    ] = None
    seed: Annotated[int, Option(help="The same seed gives the same picture again.")] = 0
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of the paths.")] = False


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(grouped(clean))


def clean(options: CleaningOptions, decoder: DecoderOptions) -> None:
    """Clean up pictures: add noise, then remove it with the model's diffusion decoder, guided by the picture's tokens.

    Each picture is first fitted to the model's size, with its shape kept."""
    from kiloword.cli.output import write_png
    from kiloword.pictures import open_picture

    if not 0 < options.level <= 1:
        raise ValueError(
            f"--level is {options.level:g}: start above 0 (unchanged) and at most at 1 (only the tokens count)"
        )
    if not 0 <= options.seed < 2**63:
        raise ValueError(f"--seed is {options.seed}: a seed is a whole number from 0")
    images = [open_picture(path) for path in options.pictures]
    for path in options.pictures:
        _target(options, path)
    from kiloword import checkpoint
    from kiloword.cli.finish import effort_of, without
    from kiloword.cli.messages import say
    from kiloword.cli.stop import check
    from kiloword.engine.cleaning import clean as cleaned

    model = options.model or checkpoint.DEFAULT
    folder = checkpoint.find(model)
    config, card = checkpoint.read_config(folder)
    if config.decoder is None:
        raise ValueError(without(model))
    effort = effort_of(decoder, config.decoder, model)
    painter, done = checkpoint.load(folder), []
    for path, image in zip(options.pictures, images, strict=True):
        check()
        picture = cleaned(painter, image, options.level, effort, options.seed)
        if picture.size != image.size:
            say(f"{path}: {image.width}x{image.height} pixels became {picture.width}x{picture.height}")
        out = _target(options, path).path(0)
        texts = {"cleaned": path.name, "level": f"{options.level:g}", "seed": str(options.seed), "model": card.name}
        write_png(out, picture, {"Software": "kiloword", **texts})
        done.append({"path": str(out), "picture": str(path), "size": f"{picture.width}x{picture.height}"})
        if not options.as_json:
            print(out)
    if options.as_json:
        print(json.dumps({"model": card.name, "level": options.level, "pictures": done}, ensure_ascii=False))


def _target(options: CleaningOptions, path: Path) -> "Target":
    """The file of a cleaned picture: checked before the work, and chosen when it is written, as no file is replaced."""
    from kiloword.cli.output import target

    output, n = options.output, len(options.pictures)
    if n > 1 and output is not None and not output.is_dir():
        raise ValueError(f"{output} is no folder, and there are {n} pictures: name a folder that is there with -o")
    return target(output, f"{path.stem} clean", 1)
