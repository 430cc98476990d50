"""Arguments and options of `kiloword tokens`.

Source: defined here; each class is a group in the help text.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

IMAGE = Argument(metavar="IMAGE", help="A picture file.", show_default=False)
POSITION = "rows and columns are counted from 0; 0:1,2 is row 1, column 2 of grid 0, where there are several"


@dataclass(frozen=True)
class TokenizerOptions:
    """The tokenizer, and the size of its input"""

    model: Annotated[
        str | None, Option(help="A model or tokenizer: shipped, a folder, or owner/name on the hub. Default: emoji-64.")
    ] = None
    size: Annotated[
        str | None, Option(help="WIDTHxHEIGHT in pixels. Default: the picture's size, if the tokenizer takes it.")
    ] = None


@dataclass(frozen=True)
class FileOptions:
    """Output files"""

    output: Annotated[
        Path | None, Option("-o", "--output", help="PNG of the whole sheet. Default: named after the picture.")
    ] = None
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False


@dataclass(frozen=True)
class ExtraFile:
    """The resulting picture alone"""

    picture: Annotated[
        Path | None, Option(help="Also write the resulting picture alone as a PNG, with its transparency.")
    ] = None


@dataclass(frozen=True)
class ImageOptions:
    """Input"""

    image: Annotated[Path, IMAGE]


@dataclass(frozen=True)
class SetOptions:
    """Input and changes"""

    image: Annotated[Path, IMAGE]
    changes: Annotated[
        list[str], Argument(metavar="ROW,COL=TOKEN...", help="New tokens; see above.", show_default=False)
    ]


@dataclass(frozen=True)
class StitchOptions:
    """Inputs to join"""

    first: Annotated[Path, Argument(metavar="A", help="The picture of the left (or upper) half.", show_default=False)]
    second: Annotated[Path, Argument(metavar="B", help="The picture of the other half.", show_default=False)]
    axis: Annotated[str, Option(help="x: A left of B; y: A above B.")] = "x"


@dataclass(frozen=True)
class FlipOptions:
    """Input and direction"""

    image: Annotated[Path, IMAGE]
    axis: Annotated[str, Option(help="x: left to right; y: top to bottom.")] = "x"


@dataclass(frozen=True)
class SweepOptions:
    """Input and values to try"""

    image: Annotated[Path, IMAGE]
    position: Annotated[str, Argument(metavar="ROW,COL", help=f"The token: {POSITION}.", show_default=False)]
    n: Annotated[int | None, Option("-n", help="How many values. Default: 40 ids, or 8 values of each code.")] = None
    group: Annotated[
        int, Option(help="Which group of codes to change, if tokens have several; group 0 matters most.")
    ] = 0
