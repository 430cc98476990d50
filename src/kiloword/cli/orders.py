"""`kiloword orders`: in which order tokens are drawn, as pictures of tables.

Every published order is a table of unknown shares (see `tokens/schedule.py`); docs/idea.md shows them all.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from kiloword.cli.grouped import grouped
from kiloword.cli.size import size_of
from kiloword.nearest import did_you_mean

if TYPE_CHECKING:
    from kiloword.orders.order import Order
    from kiloword.tokens import Layout

DRAW = """Example: kiloword orders draw next-scale --grid 8x8 -o next-scale.png

Example: kiloword orders draw masked --grid 6x6 --steps 10 --seed 3

Example: kiloword orders draw denoise --groups 4 --overlap 0.5"""
LIST = "Example: kiloword orders list"

MAX_TOKENS = 4096  # tokens of a table
SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 13)  # grids before the last one, as VAR has them up to 16x16


@dataclass(frozen=True)
class OrderOptions:
    """What to draw"""

    order: Annotated[str, Argument(help="An order: see `kiloword orders list`.", show_default=False)]
    grid: Annotated[str, Option(help="COLUMNSxROWS of the picture's tokens, in the finest grid.")] = "4x4"
    steps: Annotated[
        int | None, Option(help="Number of steps, if the order leaves it open; for denoise, of each group.")
    ] = None
    seed: Annotated[int, Option(help="Seed of random orders; the same seed gives the same table.")] = 0
    groups: Annotated[int | None, Option(help="Number of groups, for orders that denoise (see --overlap).")] = None
    overlap: Annotated[float, Option(help="1: one group after the other; 0.5: two at a time; 0: all at once.")] = 1.0


@dataclass(frozen=True)
class FileOptions:
    """Output files"""

    output: Annotated[Path | None, Option("-o", "--output", help="A PNG file. Default: named after the order.")] = None
    as_json: Annotated[bool, Option("--json", help="Print one JSON object with the table's numbers.")] = False


@dataclass(frozen=True)
class Example:
    """An order with its description, the published systems that use it, and a part and layout to show it with."""

    about: str
    systems: str
    part: Callable[[], "Order"]
    layout: Callable[[int, int], "Layout"]


def add(app: typer.Typer) -> None:
    orders = typer.Typer(help="See in which order tokens are drawn.", epilog=DRAW)
    orders.command("list", epilog=LIST)(list_)
    orders.command("draw", epilog=DRAW)(grouped(draw))
    app.add_typer(orders, name="orders")


def known() -> dict[str, Example]:
    """Every order by its name on the command line."""
    from kiloword.orders.denoise import Denoise, DenoiseConfig
    from kiloword.orders.draft import Draft
    from kiloword.orders.masked import Masked, MaskedConfig
    from kiloword.orders.next_scale import NextScale
    from kiloword.orders.random import Random, RandomConfig
    from kiloword.orders.raster import PATHS, Raster, RasterConfig

    found = {}
    for path, rank in PATHS.items():
        name, systems = ("raster", "Image GPT, DALL-E, LlamaGen") if path == "rows" else (f"raster-{path}", "")
        about = (rank.__doc__ or "").partition(":")[0].rstrip(".")
        found[name] = Example(about, systems, lambda path=path: Raster(RasterConfig(path)), _single)
    found["draft"] = Example("A small grid row by row, then the full one", "emoji-64, GLM-Image", Draft, _drafted)
    found["next-scale"] = Example("A whole grid a step, from coarse to fine", "VAR, Infinity", NextScale, _scales)
    free = RandomConfig(last=1.0)
    found["random"] = Example("A random order for each picture", "RAR", lambda: Random(free), _single)
    few = MaskedConfig(steps=8)
    found["masked"] = Example(
        "A random set a step, more and more of them", "MaskGIT, MAR", lambda: Masked(few), _single
    )
    slow, systems = DenoiseConfig(steps=6), "Transfusion, groupwise and rolling diffusion"
    found["denoise"] = Example("Gradually, from noise; optionally in groups", systems, lambda: Denoise(slow), _single)
    return found


def _single(h: int, w: int) -> "Layout":
    from kiloword.tokens import Layout

    return Layout(((h, w),))


def _drafted(h: int, w: int) -> "Layout":
    """A draft of half the side before the picture."""
    from kiloword.tokens import Layout

    return Layout(((max(1, h // 2), max(1, w // 2)), (h, w)))


def _scales(h: int, w: int) -> "Layout":
    from kiloword.tokens import Layout
    from kiloword.tokens.layout import in_proportion

    longer = max(h, w)
    squares = tuple((side, side) for side in (*(side for side in SIDES if side < longer), longer))
    return Layout(in_proportion(squares, h, w))


def list_(as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False) -> None:
    """List the orders: how each draws, and which published systems use it."""
    found = known()
    if as_json:
        values = [{"name": name, "about": shown.about, "systems": shown.systems} for name, shown in found.items()]
        print(json.dumps({"orders": values}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("order", "how it draws", "used by", box=None)
    for name, shown in found.items():
        table.add_row(name, shown.about, shown.systems)
    Console(soft_wrap=True).print(table)


def draw(options: OrderOptions, files: FileOptions) -> None:
    """Draw an order as a table: steps down, tokens across, dark while unknown, light once known.

    Beside it: the picture's grid of tokens, each in the colour of the step in which it becomes known.
    """
    from kiloword.cli.output import target, write_png

    size, out = _grid(options.grid), target(files.output, f"order {options.order}", 1).path(0)
    shown = _named(options.order)
    from PIL import Image

    from kiloword.cli.orders_sheet import sheet_of
    from kiloword.noise import Seeded
    from kiloword.orders.order import grouped_as

    layout = shown.layout(*size)
    if layout.count > MAX_TOKENS:
        raise ValueError(
            f"--grid {options.grid} makes {layout.count:,} tokens, more than can be seen: at most {MAX_TOKENS:,}"
        )
    if options.steps is not None and options.steps < 1:
        raise ValueError(f"--steps is {options.steps}: at least 1")
    groups = None if options.groups is None else (options.groups, options.overlap)
    order = grouped_as(shown.part(), groups)
    schedule = order.schedule(layout, 1, options.steps, Seeded([options.seed]))
    if options.steps not in (None, schedule.steps) and not order.gradual:
        raise ValueError(f"{options.order} takes {schedule.steps} steps for {layout.count} tokens, not {options.steps}")
    image = sheet_of(f"{options.order}: {shown.about[:1].lower()}{shown.about[1:]}", schedule, layout)
    image = image.quantize(128, dither=Image.Dither.NONE)
    write_png(
        out, image, {"Software": "kiloword", "order": options.order, "grid": options.grid, "seed": str(options.seed)}
    )
    if files.as_json:
        facts = {"path": str(out), "order": options.order, "grids": layout.sizes, "steps": schedule.steps}
        print(json.dumps({**facts, "tokens": layout.count, "table": schedule.table()[0].tolist()}, ensure_ascii=False))
    else:
        print(out)


def _grid(text: str) -> tuple[int, int]:
    try:
        size = size_of(text)
    except ValueError:
        raise ValueError(f"--grid is {text!r}: write COLUMNSxROWS, like 4x4") from None
    assert size is not None
    if min(size) < 1:
        raise ValueError(f"--grid is {text!r}: at least one column and one row")
    if size[0] * size[1] > MAX_TOKENS:
        raise ValueError(
            f"--grid {text} makes {size[0] * size[1]:,} tokens, more than can be seen: at most {MAX_TOKENS:,}"
        )
    return size


def _named(name: str) -> Example:
    found = known()
    if name not in found:
        hint = did_you_mean(name, found)
        raise ValueError(f"there is no order {name!r}{hint} (orders: {', '.join(found)})")
    return found[name]
