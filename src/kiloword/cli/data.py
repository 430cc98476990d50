"""`kiloword data`: build the emoji set, or check a folder of your own pictures."""

import json
from collections import Counter
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from kiloword.cli.messages import Stopped, say

if TYPE_CHECKING:
    from kiloword.data.emoji.summary import Summary

BUILD_EXAMPLE = "Example: kiloword data build emoji --out emoji --size 128 --styles 3d,flat"
FOLDER_EXAMPLE = "Example: kiloword data folder my-pictures"
SIZE = 128


def add(app: typer.Typer) -> None:
    data = typer.Typer(help="Get the data that models are trained on.", epilog=BUILD_EXAMPLE)
    build = typer.Typer(help="Build a set of pictures with captions from open packages.", epilog=BUILD_EXAMPLE)
    build.callback()(_group)  # a group even with a single command
    build.command("emoji", epilog=BUILD_EXAMPLE)(emoji)
    data.add_typer(build, name="build")
    data.command("folder", epilog=FOLDER_EXAMPLE)(folder)
    app.add_typer(data, name="data")


def _group() -> None:
    """Build a set of pictures with captions from open packages."""


def emoji(
    out: Annotated[Path | None, Option(help="Folder of the set. Default: in kiloword's cache folder.")] = None,
    size: Annotated[int, Option(help="Side of the pictures in pixels.")] = SIZE,
    styles: Annotated[str | None, Option(help="Some of 3d,flat,gradient,noto,twemoji. Default: all.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print the counts as one JSON object.")] = False,
) -> None:
    """Build the emoji set: 16,600 pictures of 3,900 subjects in five styles. A build that was stopped resumes."""
    from dataclasses import asdict

    from kiloword.cli.progress import progress
    from kiloword.data.emoji.build import build
    from kiloword.data.emoji.sources import STYLES
    from kiloword.data.user_cache import cache_dir

    if out is None and (size != SIZE or styles is not None):
        raise ValueError("a set of another size or fewer styles needs another folder: give --out DIR")
    chosen = tuple(STYLES) if styles is None else tuple(filter(None, styles.replace(" ", "").split(",")))
    out = out or cache_dir() / "data" / "emoji"
    try:
        with progress() as report:
            summary = build(
                out, size=size, styles=chosen, cache=cache_dir() / "npm",
                progress=lambda done, total: report("pictures rendered", done, total, {}),
            )  # fmt: skip
    except KeyboardInterrupt:
        raise Stopped("what is done is kept, the same command goes on from there") from None
    if as_json:
        print(json.dumps({"path": str(out), **asdict(summary)}, ensure_ascii=False))
    else:
        _print_summary(out, summary)


def _print_summary(out: Path, summary: "Summary") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("style", "pictures", box=None)
    for style, pictures in summary.styles.items():
        table.add_row(style, f"{pictures:,}")
    console = Console(soft_wrap=True)
    console.print(table)
    splits = ", ".join(f"{count:,} {split}" for split, count in summary.splits.items())
    console.print(f"{summary.pictures:,} pictures of {summary.codes:,} subjects ({splits})", highlight=False)
    if summary.left_out:
        console.print(f"{len(summary.left_out)} left out: blank, repeated or not rendered", highlight=False)
    print(out)


def folder(
    folder: Annotated[
        Path,
        Argument(
            help="A folder of pictures, captioned by metadata.jsonl or .csv or by file names; or tar or parquet files."
        ),
    ],
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check your own pictures: open every one, and count pictures, captions, transparent ones and sizes."""
    from kiloword.cli.progress import progress
    from kiloword.data import folder as pictures
    from kiloword.data.dataset import Skipped
    from kiloword.data.folder import FolderDataset
    from kiloword.data.kinds import open_dataset

    dataset = open_dataset(folder) if folder.exists() else FolderDataset(folder)
    skipped = Skipped()
    samples = pictures.read(folder) if isinstance(dataset, FolderDataset) else dataset.read(skipped)
    sizes, captions, transparent = [], Counter(), 0
    with progress() as report:
        for number, sample in enumerate(samples, start=1):
            sizes.append(sample.picture.size)
            captions[sample.metadata["caption"]] += 1
            transparent += sample.picture.getchannel("A").getextrema()[0] != 255
            report("pictures checked", number, None, {})
    sides = [side for size in sizes for side in size]
    facts: dict[str, Any] = {
        "path": str(folder), "pictures": len(sizes), "captions": len(captions), "transparent": transparent,
        "smallest_side": min(sides), "largest_side": max(sides), "examples": list(captions)[:3],
    }  # fmt: skip
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    print(f"{len(sizes):,} pictures, {len(captions):,} different captions, {transparent:,} with transparency")
    print(f"sides from {min(sides)} to {max(sides)} pixels")
    print(f"captions like {', '.join(repr(caption) for caption in facts['examples'])}")
    if skipped:
        say(skipped.said())
    which = "the others" if skipped else "all"
    say(f"{which} can be read; train on them: kiloword train --data {quote(str(folder))} --from emoji-64")
