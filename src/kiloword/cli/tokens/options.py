"""What the commands of `kiloword tokens` are asked: their arguments and options.

Source: defined here; each class is a group in the help text.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

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
