"""The commands of `kiloword tokens`.

Each command is an experiment of its own, and a page of them is docs/tokens.md.
"""

import typer

from kiloword.cli.grouped import grouped
from kiloword.cli.tokens.options import Also, Changes, One, Range, Turn, Two, Where, Which

ROUNDTRIP = "Example: kiloword tokens roundtrip apple.png -o roundtrip.png"
SHOW = "Example: kiloword tokens show apple.png -o tokens.png"
SET = """Example: kiloword tokens set apple.png 1,2=1026 -o changed.png

Example: kiloword tokens set photo.png 16,16=3.7.1.0.4 0:0,0=17 --model my-tokenizer"""
FLIP = "Example: kiloword tokens flip fox.png -o flipped.png"
STITCH = "Example: kiloword tokens stitch apple.png fox.png --axis x -o both.png"
SWEEP = "Example: kiloword tokens sweep apple.png 1,2 -n 8 -o sweep.png"


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
    from kiloword.cli.tokens import look

    look.show(one.image, which, where)


def set_(what: Changes, which: Which, where: Where, also: Also) -> None:
    """Change tokens and see where the picture changes.

    ROW and COL are counted from 0; GRID:ROW,COL is a place in another grid than the finest.

    TOKEN is an id (1026), codes with dots between (3.7.1.0.4), or bits (0110).

    One number stands for all codes or bits of a token: the first code counts least, the first bit most.

    Tokens of several groups, such as the shipped tokenizer's 8 groups of 5 codes, have / between groups:

    1026/-/3.7.1.0.4 changes the first and the third; groups left out, or written -, stay as they are.
    """
    from kiloword.cli.tokens import cut

    cut.change(what.image, what.changes, which, where, also)


def flip(turn: Turn, which: Which, where: Where, also: Also) -> None:
    """Reverse the grid of tokens: what comes out is not the mirrored picture."""
    from kiloword.cli.tokens import cut

    cut.flip(turn.image, turn.axis, which, where, also)


def stitch(two: Two, which: Which, where: Where, also: Also) -> None:
    """Join halves of two pictures' grids, beside joined halves of the pictures."""
    from kiloword.cli.tokens import cut

    cut.stitch((two.first, two.second), two.axis, which, where, also)


def roundtrip(one: One, which: Which, where: Where, also: Also) -> None:
    """Encode a picture, decode it, and say what was lost, at how many bits per pixel."""
    from kiloword.cli.tokens import look

    look.roundtrip(one.image, which, where, also)


def sweep(range_: Range, which: Which, where: Where) -> None:
    """Try many codes in one place: a sheet of what each of them draws there."""
    from kiloword.cli.tokens import sweep

    sweep.sweep(range_.image, range_.place, range_.n, range_.group, which, where)
