"""An experiment of `kiloword tokens`: a picture with its tokens, and how results are written.

All errors are raised before anything is written.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from kiloword import checkpoint
from kiloword.cli.messages import say
from kiloword.cli.output import target, write_png
from kiloword.cli.panels import Panel, sheet
from kiloword.cli.size import size_of
from kiloword.cli.tokens.options import ExtraFile, FileOptions, TokenizerOptions
from kiloword.engine import surgery
from kiloword.engine.fitting import Fitted, fit, showable
from kiloword.engine.notation import Notation
from kiloword.pictures import read_picture
from kiloword.pixels import to_image
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Layout, Vector

# Axes: H W pixels.


@dataclass(frozen=True)
class Subject:
    """A picture, its tokenizer, and its tokens [1, n] or [1, n, tail]."""

    path: Path
    model: str
    tokenizer: Tokenizer
    fitted: Fitted
    tokens: Tensor

    @property
    def layout(self) -> Layout:
        return self.fitted.layout

    @property
    def notation(self) -> Notation:
        return Notation.of(self.tokenizer)

    @property
    def pixels(self) -> Float[Tensor, "1 4 H W"]:
        """The tokenizer's input."""
        return showable(self.fitted.pixels)

    def drawn(self, tokens: Tensor | None = None) -> Float[Tensor, "4 H W"]:
        """The picture decoded from its tokens, or from other `tokens`."""
        return surgery.draw(self.tokenizer, self.tokens if tokens is None else tokens, self.layout)[0]

    def heading(self, what: str) -> str:
        """The heading of a sheet."""
        height, width = self.fitted.size
        grids = " + ".join(f"{w}x{h}" for h, w in self.layout.sizes)
        return f"{what}: {self.path.name}, {width}x{height} pixels = {grids} tokens of {self.model}"

    def facts(self) -> dict[str, Any]:
        """The fields of every command's JSON."""
        height, width = self.fitted.size
        return {
            "picture": str(self.path), "model": self.model, "size": f"{width}x{height}",
            "notice": self.fitted.notice, "token": self.notation.about(),
            "grids": [{"rows": h, "columns": w} for h, w in self.layout.sizes],
        }  # fmt: skip

    def need_codes(self, command: str) -> None:
        """Raise ValueError if tokens are vectors and have no codes."""
        if isinstance(self.tokenizer.space, Vector):
            raise ValueError(
                f"`tokens {command}` makes no sense with {self.model}, whose tokens are {self.notation.about()} and no "
                "codes that could be named: use show, flip, stitch or roundtrip"
            )


@dataclass(frozen=True)
class OutputPaths:
    """The files of the sheet and, optionally, of the picture alone; both can be written."""

    sheet: Path
    alone: Path | None = None


def checked_paths(files: FileOptions, image: Path, command: str, extra: ExtraFile = ExtraFile()) -> OutputPaths:
    """The files of a command, checked before anything is loaded."""
    alone = target(extra.picture, "", 1).path(0) if extra.picture else None
    found = OutputPaths(target(files.output, f"{image.stem} {command}", 1).path(0), alone)
    if found.sheet == found.alone:
        raise ValueError(f"{found.sheet} would be both the sheet and the picture alone: name two files")
    return found


def encoded(paths: Sequence[Path], options: TokenizerOptions) -> list[Subject]:
    """Pictures with their tokens, all at the size of the first."""
    pictures = [read_picture(path) for path in paths]
    size = size_of(options.size)
    tokenizer, card = checkpoint.load_tokenizer(options.model or checkpoint.DEFAULT)
    subjects: list[Subject] = []
    for path, picture in zip(paths, pictures, strict=True):
        fitted = fit(tokenizer, picture, subjects[0].fitted.size if subjects else size)
        subjects.append(Subject(path, card.name, tokenizer, fitted, surgery.read(tokenizer, fitted)))
    return subjects


@dataclass(frozen=True)
class Result:
    """What an experiment found: a sheet's panels, lines to print, fields of the JSON, and the picture alone."""

    what: str
    panels: Sequence[Panel]
    lines: Sequence[str]
    facts: dict[str, Any]
    alone: Float[Tensor, "4 H W"] | None = None
    columns: int | None = None


def write_result(subjects: Sequence[Subject], result: Result, paths: OutputPaths, files: FileOptions) -> None:
    """Write the sheet and the picture alone, note how pictures were fitted, and print lines or JSON."""
    subject, written = subjects[0], {"path": str(paths.sheet)}
    texts = {"Software": "kiloword", "model": subject.model, "picture": subject.path.name}
    image = sheet(subject.heading(result.what), result.panels, result.columns)
    if result.alone is not None and paths.alone:
        write_png(paths.alone, to_image(result.alone), texts)
        written["alone"] = str(paths.alone)
    write_png(paths.sheet, image, texts)
    for one in subjects:
        if one.fitted.notice:
            height, width = one.fitted.before
            say(f"note: {one.path} is {width}x{height} pixels: {one.fitted.notice}")
    if files.as_json:
        print(json.dumps({**written, **subject.facts(), **result.facts}, ensure_ascii=False))
    else:
        print("\n".join([*result.lines, *written.values()]))
