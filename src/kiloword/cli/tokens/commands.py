"""The commands of `kiloword tokens`.

Each command is one experiment; docs/tokens.md shows them all.
"""

import typer

from kiloword.cli.grouped import grouped
from kiloword.cli.tokens.options import (
    ExtraFile,
    FileOptions,
    FlipOptions,
    ImageOptions,
    SetOptions,
    StitchOptions,
    SweepOptions,
    TokenizerOptions,
)

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


def show(options: ImageOptions, tokenizer: TokenizerOptions, files: FileOptions) -> None:
    """Show the grid of a picture's tokens, as numbers and as a map of colours over the picture.

    Equal tokens have equal colours.

    Tokens of several codes are printed one per line, in the format that `tokens set` reads.
    """
    from kiloword.cli.tokens import look

    look.show(options.image, tokenizer, files)


def set_(options: SetOptions, tokenizer: TokenizerOptions, files: FileOptions, extra: ExtraFile) -> None:
    """Change tokens and see where the picture changes.

    ROW and COL are counted from 0; GRID:ROW,COL is a token of another grid than the finest.

    TOKEN is an id (1026), codes with dots between (3.7.1.0.4), or bits (0110).

    One number stands for all codes or bits of a token: the first code counts least, the first bit most.

    Tokens of several groups, such as the shipped tokenizer's 8 groups of 5 codes, have / between groups:

    1026/-/3.7.1.0.4 changes the first and the third; groups left out, or written -, stay as they are.
    """
    from kiloword.cli.tokens import cut

    cut.change(options.image, options.changes, tokenizer, files, extra)


def flip(options: FlipOptions, tokenizer: TokenizerOptions, files: FileOptions, extra: ExtraFile) -> None:
    """Reverse the grid of tokens and decode it, beside the mirrored picture."""
    from kiloword.cli.tokens import cut

    cut.flip(options.image, options.axis, tokenizer, files, extra)


def stitch(options: StitchOptions, tokenizer: TokenizerOptions, files: FileOptions, extra: ExtraFile) -> None:
    """Join halves of two pictures' grids and decode them, beside joined halves of the pictures."""
    from kiloword.cli.tokens import cut

    cut.stitch((options.first, options.second), options.axis, tokenizer, files, extra)


def roundtrip(options: ImageOptions, tokenizer: TokenizerOptions, files: FileOptions, extra: ExtraFile) -> None:
    """Encode and decode a picture, and print PSNR, SSIM and bits per pixel."""
    from kiloword.cli.tokens import look

    look.roundtrip(options.image, tokenizer, files, extra)


def sweep(options: SweepOptions, tokenizer: TokenizerOptions, files: FileOptions) -> None:
    """Decode a picture with one token set to many values: a sheet of what each draws there."""
    from kiloword.cli.tokens import sweep

    sweep.sweep(options.image, options.position, options.n, options.group, tokenizer, files)
