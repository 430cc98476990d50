"""`kiloword generate`: a prompt or a class in, PNG files out."""

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from kiloword.cli.finish import DecoderOptions, effort_of, ramps_of
from kiloword.cli.grouped import grouped
from kiloword.cli.size import size_of
from kiloword.cli.stop import check

if TYPE_CHECKING:
    from kiloword.cli.output import Target
    from kiloword.engine.card import Card
    from kiloword.engine.painter import Painter, Preview
    from kiloword.engine.request import Job, Request

EXAMPLES = """Example: kiloword generate "a red apple" -o apple.png

Example: kiloword generate "a sleepy cat" --style 3d -n 4 --seed 7 --scale 4 --animate cat.webp

Example: kiloword generate "a green hat" --picture face.png --mask top.png -o hat.png

Example: kiloword generate "a whale" --groups 16 --overlap 1 --animate whale.webp --model runs/decoder-128/checkpoint

Example: kiloword generate --model var --class "golden retriever" -o dog.png"""


@dataclass(frozen=True)
class SubjectOptions:
    """What to draw"""

    prompt: Annotated[str | None, Argument(help="What to draw, in words.", show_default=False)] = None
    class_: Annotated[
        str | None, Option("--class", metavar="NUMBER|NAME", help="What to draw, for models that draw classes.")
    ] = None
    style: Annotated[str | None, Option(help="One of the model's styles: see `kiloword models`. Default: none.")] = None
    n: Annotated[int, Option("-n", help="How many pictures; picture k uses seed + k - 1.")] = 1
    seed: Annotated[int | None, Option(help="The same seed draws the same picture again. Default: random.")] = None
    size: Annotated[
        str | None, Option(help="WIDTHxHEIGHT in pixels, one of the model's sizes. Default: its first.")
    ] = None


@dataclass(frozen=True)
class SamplingOptions:
    """How to draw it (defaults: those of the model's card)"""

    model: Annotated[
        str | None, Option(help="A shipped or pulled model, a folder, or owner/name on the hub. Default: emoji-64.")
    ] = None
    guidance: Annotated[
        float | None, Option(help="Classifier-free guidance: how closely to follow the prompt; 1 is off.")
    ] = None
    temperature: Annotated[
        float | None, Option(help="Sampling temperature; 0 takes the likeliest token each time.")
    ] = None
    top_p: Annotated[float | None, Option(help="Sample from the likeliest tokens of this total probability.")] = None
    top_k: Annotated[int | None, Option(help="Sample from this many of the likeliest tokens; 0 is all.")] = None
    steps: Annotated[
        int | None, Option(help="Number of steps, if the model's order leaves it open; with --groups, of each group.")
    ] = None
    negative: Annotated[str | None, Option(help="What not to draw (needs guidance above 1).")] = None
    best_of: Annotated[
        int, Option(help="Draw this many and keep the one from which the model predicts the prompt best.")
    ] = 1


@dataclass(frozen=True)
class EditOptions:
    """Edit a picture"""

    picture: Annotated[Path | None, Option(help="A picture to redraw where the mask is transparent.")] = None
    mask: Annotated[Path | None, Option(help="A picture that is transparent where to redraw.")] = None


@dataclass(frozen=True)
class FileOptions:
    """Output files and display"""

    output: Annotated[
        Path | None, Option("-o", "--output", help="A PNG file, or a folder. Default: named after the prompt.")
    ] = None
    scale: Annotated[int, Option(help="Enlarge the picture by this factor.")] = 1
    filter: Annotated[str, Option(help="How to enlarge: nearest or lanczos.")] = "lanczos"
    partials: Annotated[
        int | None, Option(help="Also write this many previews. Default: 5 with --partials-dir, else 0.")
    ] = None
    partials_dir: Annotated[Path | None, Option(help="Folder for the previews. Default: that of the output.")] = None
    animate: Annotated[Path | None, Option(help="Also write the drawing as an animation: .webp, .gif or .png.")] = None
    show: Annotated[
        bool | None, Option("--show/--no-show", help="Show previews in the terminal. Default: if stderr is one.")
    ] = None
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of the paths.")] = False


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(grouped(generate))


def generate(
    subject: SubjectOptions, how: SamplingOptions, decoder: DecoderOptions, edit: EditOptions, files: FileOptions
) -> None:
    """Draw pictures from words, or of a class. The paths of the pictures are printed."""
    targets = _targets(subject, files, how.model or "")
    request = _request(subject, how, edit)
    from kiloword import checkpoint

    folder = checkpoint.find(how.model or checkpoint.DEFAULT)
    config, card = checkpoint.read_config(folder)
    request = _for_model(request, subject, how, card)
    decoder, steps = ramps_of(decoder, how.steps, config)
    effort = effort_of(decoder, config.decoder, how.model or checkpoint.DEFAULT)
    request = replace(request, steps=steps, effort=effort)
    painter = checkpoint.load(folder)
    job = painter.resolve(request)
    started = time.perf_counter()
    with _screen(files, subject.n) as screen:
        finals = _draw(painter, job, files, targets, screen)
    seconds = time.perf_counter() - started
    from kiloword.cli.output import enlarge, write_png

    drawn = []
    for final, path in zip(finals, targets["pictures"].paths, strict=True):
        image, texts = enlarge(final.image, files.scale, files.filter), _texts(subject, job, painter, final.seed)
        write_png(path, image, texts)
        drawn.append({"path": str(path), "seed": final.seed})
    if files.as_json:
        values = {**drawn[0], "model": painter.card.name, **_prompt_fields(subject, job), "style": subject.style}
        print(json.dumps({**values, "seconds": round(seconds, 3), "pictures": drawn}, ensure_ascii=False))
    else:
        print("\n".join(picture["path"] for picture in drawn))


def _targets(subject: SubjectOptions, files: FileOptions, model: str) -> dict[str, "Target"]:
    """All files that will be written; whatever is wrong with them is found before anything is loaded."""
    from kiloword.cli.output import FILTERS, Target, check_folder, moving, target

    if subject.prompt is not None and subject.class_ is not None:
        raise ValueError("a prompt and a --class: give one of them")
    if subject.prompt is not None and not subject.prompt.strip():
        raise ValueError("the prompt is empty: say what to draw")
    if subject.n < 1:
        raise ValueError(f"-n is {subject.n}: draw at least 1 picture")
    if not 1 <= files.scale <= 16:
        raise ValueError(f"--scale is {files.scale}: enlarge by 1 to 16")
    if files.partials is not None and files.partials < 0:
        raise ValueError(f"--partials is {files.partials}: write 0 or more previews")
    if files.filter not in FILTERS:
        raise ValueError(f"--filter is {files.filter!r}: choose {' or '.join(FILTERS)}")
    name = f"class {subject.class_}" if subject.class_ and subject.class_.isdecimal() else subject.class_
    targets = {"pictures": target(files.output, subject.prompt or name or " ".join(Path(model).parts[-2:]), subject.n)}
    if files.animate:
        targets["animations"] = moving(files.animate, subject.n)
    if files.partials or (files.partials is None and files.partials_dir):
        folder = files.partials_dir or targets["pictures"].folder
        check_folder(folder)
        targets["partials"] = Target(folder, targets["pictures"].stem, subject.n)
    return targets


def _request(subject: SubjectOptions, how: SamplingOptions, edit: EditOptions) -> "Request":
    from kiloword.engine.request import Request, edited

    change = edited({"picture": _opened(edit.picture), "mask": _opened(edit.mask, mask=True)})
    return Request(
        subject.prompt, subject.n, subject.seed, subject.style, size_of(subject.size), how.guidance,
        negative=how.negative, candidates=how.best_of, steps=how.steps, **change,
    )  # fmt: skip


def _opened(path: Path | None, mask: bool = False) -> Any:
    from kiloword.pictures import open_picture

    picture = open_picture(path) if path else None
    if picture is not None and mask and picture.getchannel("A").getextrema()[0] == 255:
        raise ValueError(f"{path} has no transparent pixels: make transparent what is to be redrawn")
    return picture


def _for_model(request: "Request", subject: SubjectOptions, how: SamplingOptions, card: "Card") -> "Request":
    """The request with prompt and sampling for the model of this card. Raises ValueError for what it cannot draw."""
    from kiloword.heads.head import Sampling

    if card.prompts == "class" and subject.prompt is not None:
        raise ValueError(f"{card.name} draws classes, it reads no prompt: ask for one with --class {subject.prompt!r}")
    if card.prompts == "text" and subject.class_ is not None:
        raise ValueError(f"{card.name} has no classes: ask in words, kiloword generate {subject.class_!r}")
    if card.prompts == "class" and subject.class_ is None:
        raise ValueError(f"{card.name} draws classes: say which with --class")
    prompt = subject.prompt if subject.class_ is None else subject.class_
    chosen = {"temperature": how.temperature, "top_k": how.top_k, "top_p": how.top_p}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    sampling = replace(Sampling(card.temperature, card.top_k, card.top_p), **chosen) if chosen else None
    return replace(request, prompt=prompt, sampling=sampling)


def _screen(files: FileOptions, n: int) -> Any:
    from rich.console import Console

    console = Console(stderr=True, force_terminal=True if files.show else None)
    if not console.is_terminal or console.is_dumb_terminal:
        return nullcontext()
    from kiloword.cli.screen import Screen

    return Screen(console, n, pictures=files.show is not False and not console.no_color)


def _draw(
    painter: "Painter", job: "Job", files: FileOptions, targets: dict[str, "Target"], screen: Any
) -> list["Preview"]:
    """The finished pictures; previews and animations are written on the way."""
    from kiloword.cli.output import enlarge, write_moving, write_png

    partials = (5 if files.partials is None else files.partials) if "partials" in targets else 0
    frames: list[list[Any]] = [[] for _ in range(job.n)]
    finals = []
    for preview, wanted in _previews(painter, job, partials, every=bool(screen or files.animate)):
        check()
        if screen:
            screen.show(preview)
        image = enlarge(preview.image, files.scale, files.filter)
        if files.animate:
            frames[preview.index].append(image)
        if preview.final:
            finals.append(preview)
        elif wanted:
            path = targets["partials"].path(preview.index)
            name = f"{path.stem}-step-{preview.step:0{len(str(preview.steps))}d}.png"
            write_png(path.with_name(name), image, {"Software": "kiloword"})
    for index, images in enumerate(frames if files.animate else []):
        write_moving(targets["animations"].path(index), images)
    return finals


def _previews(painter: "Painter", job: "Job", partials: int, every: bool) -> Iterator[tuple["Preview", bool]]:
    """Previews of the job and whether each is one of the `partials`; `every` includes all other steps."""
    from kiloword.engine.preview import shown_steps

    for preview in painter.run(replace(job, partials=None if every else partials)):
        yield preview, preview.step in shown_steps(preview.steps, partials)


def _prompt_fields(subject: SubjectOptions, job: "Job") -> dict[str, Any]:
    """The prompt as written to JSON and PNG texts: words, or the number of a class."""
    if isinstance(job.prompt, int):
        return {"prompt": None, "class": job.prompt}
    return {"prompt": subject.prompt}


def _texts(subject: SubjectOptions, job: "Job", painter: "Painter", seed: int) -> dict[str, str]:
    values = {**_prompt_fields(subject, job), "style": subject.style, "seed": seed, "model": painter.card.name}
    return {"Software": "kiloword", **{name: str(value) for name, value in values.items() if value is not None}}
