"""`kiloword tokens`: surgery on a picture's tokens, to see what they mean.

Each command is an experiment of its own, and a page of them is docs/tokens.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from kiloword.cli.grouped import grouped

ROUNDTRIP = "Example: kiloword tokens roundtrip apple.png -o roundtrip.png"
SHOW = "Example: kiloword tokens show apple.png -o tokens.png"
SET = """Example: kiloword tokens set apple.png 1,2=1026 -o changed.png

Example: kiloword tokens set photo.png 16,16=3.7.1.0.4 0:0,0=17 --model my-tokenizer"""
FLIP = "Example: kiloword tokens flip fox.png -o flipped.png"
STITCH = "Example: kiloword tokens stitch apple.png fox.png --axis x -o both.png"
SWEEP = "Example: kiloword tokens sweep apple.png 1,2 -n 8 -o sweep.png"

IMAGE = Argument(metavar="IMAGE", help="A picture file.", show_default=False)
PLACE = "rows and columns are counted from 0; 0:1,2 is row 1, column 2 of grid 0, where there are several"


@dataclass(frozen=True)
class Which:
    """The tokenizer, and the size at which it sees the picture"""

    model: Annotated[
        str | None, Option(help="A model or tokenizer: a shipped one, a folder, or owner/name on the hub.")
    ] = None
    size: Annotated[str | None, Option(help="WIDTHxHEIGHT in pixels. Default: the picture's own, if allowed.")] = None


@dataclass(frozen=True)
class Where:
    """What is written"""

    output: Annotated[
        Path | None, Option("-o", "--output", help="PNG of all that is to be seen. Default: named after the picture.")
    ] = None
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False


@dataclass(frozen=True)
class Also:
    """The picture by itself"""

    picture: Annotated[
        Path | None, Option(help="Also write the resulting picture alone as a PNG, with its transparency.")
    ] = None


@dataclass(frozen=True)
class One:
    """What to look at"""

    image: Annotated[Path, IMAGE]


@dataclass(frozen=True)
class Changes:
    """What to change"""

    image: Annotated[Path, IMAGE]
    changes: Annotated[
        list[str], Argument(metavar="ROW,COL=TOKEN...", help="New tokens; see above.", show_default=False)
    ]


@dataclass(frozen=True)
class Two:
    """What to join"""

    first: Annotated[Path, Argument(metavar="A", help="The picture of the left (or upper) half.", show_default=False)]
    second: Annotated[Path, Argument(metavar="B", help="The picture of the other half.", show_default=False)]
    axis: Annotated[str, Option(help="x: A left of B; y: A above B.")] = "x"


@dataclass(frozen=True)
class Turn:
    """What to turn round"""

    image: Annotated[Path, IMAGE]
    axis: Annotated[str, Option(help="x: left to right; y: top to bottom.")] = "x"


@dataclass(frozen=True)
class Range:
    """What to try"""

    image: Annotated[Path, IMAGE]
    place: Annotated[str, Argument(metavar="ROW,COL", help=f"The token: {PLACE}.", show_default=False)]
    n: Annotated[int | None, Option("-n", help="How many values: by default 40 ids, or 8 values of each code.")] = None
    group: Annotated[int, Option(help="Of tokens of several groups, which one; the first, 0, matters most.")] = 0


def add(app: typer.Typer) -> None:
    tokens = typer.Typer(help="See what a picture's tokens mean, by changing them.", epilog=SHOW)
    commands = {show: SHOW, set_: SET, flip: FLIP, stitch: STITCH, roundtrip: ROUNDTRIP, sweep: SWEEP}
    for command, example in commands.items():
        tokens.command(command.__name__.rstrip("_"), epilog=example)(grouped(command))
    app.add_typer(tokens, name="tokens")


def show(one: One, which: Which, where: Where) -> None:
    """Show the grid of a picture's tokens, as numbers and as a map of colours over the picture.

    Equal tokens have equal colours.

    Tokens of several codes are printed a line each, in the way in which `tokens set` takes them.
    """
    from kiloword.cli import tokens_look

    tokens_look.show(one.image, which, where)


def set_(what: Changes, which: Which, where: Where, also: Also) -> None:
    """Change tokens and see where the picture changes.

    ROW and COL are counted from 0; GRID:ROW,COL is a place in another grid than the finest.

    TOKEN is an id (1026), codes with dots between (3.7.1.0.4), or bits (0110).

    One number stands for all codes or bits of a token: the first code counts least, the first bit most.

    Tokens of several groups, such as the shipped tokenizer's 8 groups of 5 codes, have / between groups:

    1026/-/3.7.1.0.4 changes the first and the third; groups left out, or written -, stay as they are.
    """
    from kiloword.cli import tokens_cut

    tokens_cut.change(what.image, what.changes, which, where, also)


def flip(turn: Turn, which: Which, where: Where, also: Also) -> None:
    """Reverse the grid of tokens: what comes out is not the mirrored picture."""
    from kiloword.cli import tokens_cut

    tokens_cut.flip(turn.image, turn.axis, which, where, also)


def stitch(two: Two, which: Which, where: Where, also: Also) -> None:
    """Join halves of two pictures' grids, beside joined halves of the pictures."""
    from kiloword.cli import tokens_cut

    tokens_cut.stitch((two.first, two.second), two.axis, which, where, also)


def roundtrip(one: One, which: Which, where: Where, also: Also) -> None:
    """Encode a picture, decode it, and say what was lost, at how many bits per pixel."""
    from kiloword.cli import tokens_look

    tokens_look.roundtrip(one.image, which, where, also)


def sweep(range_: Range, which: Which, where: Where) -> None:
    """Try many codes in one place: a sheet of what each of them draws there."""
    from kiloword.cli import tokens_sweep

    tokens_sweep.sweep(range_.image, range_.place, range_.n, range_.group, which, where)
