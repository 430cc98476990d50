"""An experiment of `kiloword tokens`: a picture on a tokenizer's grid, and the way its results are given out.

Everything that a user can get wrong is found before anything is written.
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
from kiloword.cli.tokens.options import Also, Where, Which
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
    """A picture, the tokenizer that reads it, and its tokens [1, n] or [1, n, tail]."""

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
        """The picture that the tokenizer was given."""
        return showable(self.fitted.pixels)

    def drawn(self, tokens: Tensor | None = None) -> Float[Tensor, "4 H W"]:
        """The picture of its own tokens, or of others."""
        return surgery.draw(self.tokenizer, self.tokens if tokens is None else tokens, self.layout)[0]

    def heading(self, what: str) -> str:
        """What a sheet is about."""
        height, width = self.fitted.size
        grids = " + ".join(f"{w}x{h}" for h, w in self.layout.sizes)
        return f"{what}: {self.path.name}, {width}x{height} pixels = {grids} tokens of {self.model}"

    def facts(self) -> dict[str, Any]:
        """What every command says of it in JSON."""
        height, width = self.fitted.size
        return {
            "picture": str(self.path), "model": self.model, "size": f"{width}x{height}",
            "notice": self.fitted.notice, "token": self.notation.about(),
            "grids": [{"rows": h, "columns": w} for h, w in self.layout.sizes],
        }  # fmt: skip

    def need_codes(self, command: str) -> None:
        """Raise ValueError where tokens are real numbers and there is nothing to name."""
        if isinstance(self.tokenizer.space, Vector):
            raise ValueError(
                f"`tokens {command}` makes no sense with {self.model}, whose tokens are {self.notation.about()} and no "
                "codes that could be named: use show, flip, stitch or roundtrip"
            )


@dataclass(frozen=True)
class Files:
    """Where the sheet and the picture alone go; both can be written."""

    sheet: Path
    alone: Path | None = None


def files(where: Where, image: Path, command: str, also: Also = Also()) -> Files:
    """The files of a command, checked before anything is loaded."""
    alone = target(also.picture, "", 1).path(0) if also.picture else None
    found = Files(target(where.output, f"{image.stem} {command}", 1).path(0), alone)
    if found.sheet == found.alone:
        raise ValueError(f"{found.sheet} would be both the sheet and the picture alone: name two files")
    return found


def lay(paths: Sequence[Path], which: Which) -> list[Subject]:
    """Pictures as subjects, all at the size of the first."""
    pictures = [read_picture(path) for path in paths]
    size = size_of(which.size)
    tokenizer, card = checkpoint.load_tokenizer(which.model or checkpoint.DEFAULT)
    subjects: list[Subject] = []
    for path, picture in zip(paths, pictures, strict=True):
        fitted = fit(tokenizer, picture, subjects[0].fitted.size if subjects else size)
        subjects.append(Subject(path, card.name, tokenizer, fitted, surgery.read(tokenizer, fitted)))
    return subjects


@dataclass(frozen=True)
class Result:
    """What an experiment shows: a sheet's panels, lines and facts for JSON that say it, and the picture alone."""

    what: str
    panels: Sequence[Panel]
    lines: Sequence[str]
    facts: dict[str, Any]
    alone: Float[Tensor, "4 H W"] | None = None
    columns: int | None = None


def give(subjects: Sequence[Subject], result: Result, files: Files, where: Where) -> None:
    """Write the sheet, and the picture alone; say what was done to the pictures; print lines, or facts as JSON."""
    subject, written = subjects[0], {"path": str(files.sheet)}
    texts = {"Software": "kiloword", "model": subject.model, "picture": subject.path.name}
    image = sheet(subject.heading(result.what), result.panels, result.columns)
    if result.alone is not None and files.alone:
        write_png(files.alone, to_image(result.alone), texts)
        written["alone"] = str(files.alone)
    write_png(files.sheet, image, texts)
    for one in subjects:
        if one.fitted.notice:
            height, width = one.fitted.before
            say(f"note: {one.path} is {width}x{height} pixels: {one.fitted.notice}")
    if where.as_json:
        print(json.dumps({**written, **subject.facts(), **result.facts}, ensure_ascii=False))
    else:
        print("\n".join([*result.lines, *written.values()]))
