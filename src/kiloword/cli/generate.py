"""`kiloword generate`: words in, or a class, PNG files out."""

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from kiloword.cli.finish import Finish, effort_of, ramps_of
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
class What:
    """What to draw"""

    prompt: Annotated[str | None, Argument(help="What to draw, in words.", show_default=False)] = None
    class_: Annotated[
        str | None, Option("--class", metavar="NUMBER|NAME", help="What to draw, of models that know classes.")
    ] = None
    style: Annotated[str | None, Option(help="A style of the model: see `kiloword models`.")] = None
    n: Annotated[int, Option("-n", help="How many pictures; picture k has seed + k - 1.")] = 1
    seed: Annotated[int | None, Option(help="The same seed draws the same picture again.")] = None
    size: Annotated[str | None, Option(help="WIDTHxHEIGHT in pixels; a size of the model.")] = None


@dataclass(frozen=True)
class How:
    """How to draw it (by default as the model's card says)"""

    model: Annotated[
        str | None, Option(help="A shipped model, one that was pulled, a folder, or owner/name on the hub.")
    ] = None
    guidance: Annotated[float | None, Option(help="How closely to follow the prompt; 1 is off.")] = None
    temperature: Annotated[float | None, Option(help="0 takes the likeliest token each time.")] = None
    top_p: Annotated[float | None, Option(help="Choose among the likeliest tokens of this total probability.")] = None
    top_k: Annotated[int | None, Option(help="Choose among so many of the likeliest tokens; 0 is all.")] = None
    steps: Annotated[
        int | None, Option(help="In how many steps to draw, where the model leaves it open; with --groups, each group.")
    ] = None
    negative: Annotated[str | None, Option(help="What not to draw (needs guidance above 1).")] = None
    best_of: Annotated[int, Option(help="Draw so many and keep the one in which the model best sees the prompt.")] = 1


@dataclass(frozen=True)
class Edit:
    """Changing a picture"""

    picture: Annotated[Path | None, Option(help="A picture to change where the mask is transparent.")] = None
    mask: Annotated[Path | None, Option(help="A picture that is transparent where to draw anew.")] = None


@dataclass(frozen=True)
class Where:
    """What is written and shown"""

    output: Annotated[
        Path | None, Option("-o", "--output", help="A PNG file, or a folder. Default: named after the prompt.")
    ] = None
    scale: Annotated[int, Option(help="Enlarge the picture by this factor.")] = 1
    filter: Annotated[str, Option(help="How to enlarge: nearest or lanczos.")] = "lanczos"
    partials: Annotated[
        int | None, Option(help="Also write so many pictures on the way. Default: 5 with --partials-dir.")
    ] = None
    partials_dir: Annotated[
        Path | None, Option(help="Folder for the pictures on the way. Default: that of the output.")
    ] = None
    animate: Annotated[Path | None, Option(help="Also write the drawing as an animation: .webp, .gif or .png.")] = None
    show: Annotated[
        bool | None, Option("--show/--no-show", help="Draw in the terminal. Default: if stderr is one.")
    ] = None
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of the paths.")] = False


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(grouped(generate))


def generate(what: What, how: How, finish: Finish, edit: Edit, where: Where) -> None:
    """Draw pictures from words, or of a class. The paths of the pictures are printed."""
    targets = _targets(what, where, how.model or "")
    request = _request(what, how, edit)
    from kiloword import checkpoint

    folder = checkpoint.find(how.model or checkpoint.DEFAULT)
    config, card = checkpoint.read_config(folder)
    request = _for_model(request, what, how, card)
    finish, steps = ramps_of(finish, how.steps, config)
    effort = effort_of(finish, config.decoder, how.model or checkpoint.DEFAULT)
    request = replace(request, steps=steps, effort=effort)
    painter = checkpoint.load(folder)
    job = painter.resolve(request)
    started = time.perf_counter()
    with _screen(where, what.n) as screen:
        finals = _draw(painter, job, where, targets, screen)
    seconds = time.perf_counter() - started
    from kiloword.cli.output import enlarge, write_png

    drawn = []
    for final, path in zip(finals, targets["pictures"].paths, strict=True):
        image, texts = enlarge(final.image, where.scale, where.filter), _texts(what, job, painter, final.seed)
        write_png(path, image, texts)
        drawn.append({"path": str(path), "seed": final.seed})
    if where.as_json:
        values = {**drawn[0], "model": painter.card.name, **_asked(what, job), "style": what.style}
        print(json.dumps({**values, "seconds": round(seconds, 3), "pictures": drawn}, ensure_ascii=False))
    else:
        print("\n".join(picture["path"] for picture in drawn))


def _targets(what: What, where: Where, model: str) -> dict[str, "Target"]:
    """All files that will be written; whatever is wrong with them is found before anything is loaded."""
    from kiloword.cli.output import FILTERS, Target, check_folder, moving, target

    if what.prompt is not None and what.class_ is not None:
        raise ValueError("a prompt and a --class: give one of them")
    if what.prompt is not None and not what.prompt.strip():
        raise ValueError("the prompt is empty: say what to draw")
    if what.n < 1:
        raise ValueError(f"-n is {what.n}: draw at least 1 picture")
    if not 1 <= where.scale <= 16:
        raise ValueError(f"--scale is {where.scale}: enlarge by 1 to 16")
    if where.partials is not None and where.partials < 0:
        raise ValueError(f"--partials is {where.partials}: write 0 or more pictures on the way")
    if where.filter not in FILTERS:
        raise ValueError(f"--filter is {where.filter!r}: choose {' or '.join(FILTERS)}")
    name = f"class {what.class_}" if what.class_ and what.class_.isdecimal() else what.class_
    targets = {"pictures": target(where.output, what.prompt or name or " ".join(Path(model).parts[-2:]), what.n)}
    if where.animate:
        targets["animations"] = moving(where.animate, what.n)
    if where.partials or (where.partials is None and where.partials_dir):
        folder = where.partials_dir or targets["pictures"].folder
        check_folder(folder)
        targets["partials"] = Target(folder, targets["pictures"].stem, what.n)
    return targets


def _request(what: What, how: How, edit: Edit) -> "Request":
    from kiloword.engine.request import Request, edited

    change = edited({"picture": _opened(edit.picture), "mask": _opened(edit.mask, mask=True)})
    return Request(
        what.prompt, what.n, what.seed, what.style, size_of(what.size), how.guidance, negative=how.negative,
        candidates=how.best_of, steps=how.steps, **change,
    )  # fmt: skip


def _opened(path: Path | None, mask: bool = False) -> Any:
    from kiloword.pictures import open_picture

    picture = open_picture(path) if path else None
    if picture is not None and mask and picture.getchannel("A").getextrema()[0] == 255:
        raise ValueError(f"{path} has no transparent pixels: make transparent what is to be drawn anew")
    return picture


def _for_model(request: "Request", what: What, how: How, card: "Card") -> "Request":
    """The request as the model with this card can take it. Raises ValueError if it can't, before anything is loaded."""
    from kiloword.heads.head import Sampling

    if card.prompts == "class" and what.prompt is not None:
        raise ValueError(f"{card.name} draws classes, it reads no prompt: ask for one with --class {what.prompt!r}")
    if card.prompts == "text" and what.class_ is not None:
        raise ValueError(f"{card.name} has no classes: ask in words, kiloword generate {what.class_!r}")
    if card.prompts == "class" and what.class_ is None:
        raise ValueError(f"{card.name} draws classes: say which with --class")
    prompt = what.prompt if what.class_ is None else what.class_
    chosen = {"temperature": how.temperature, "top_k": how.top_k, "top_p": how.top_p}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    sampling = replace(Sampling(card.temperature, card.top_k, card.top_p), **chosen) if chosen else None
    return replace(request, prompt=prompt, sampling=sampling)


def _screen(where: Where, n: int) -> Any:
    from rich.console import Console

    console = Console(stderr=True, force_terminal=True if where.show else None)
    if not console.is_terminal or console.is_dumb_terminal:
        return nullcontext()
    from kiloword.cli.screen import Screen

    return Screen(console, n, pictures=where.show is not False and not console.no_color)


def _draw(
    painter: "Painter", job: "Job", where: Where, targets: dict[str, "Target"], screen: Any
) -> list["Preview"]:
    """The finished pictures; on the way, partial ones and animations are written."""
    from kiloword.cli.output import enlarge, write_moving, write_png

    partials = (5 if where.partials is None else where.partials) if "partials" in targets else 0
    frames: list[list[Any]] = [[] for _ in range(job.n)]
    finals = []
    for preview, wanted in _previews(painter, job, partials, every=bool(screen or where.animate)):
        check()
        if screen:
            screen.show(preview)
        image = enlarge(preview.image, where.scale, where.filter)
        if where.animate:
            frames[preview.index].append(image)
        if preview.final:
            finals.append(preview)
        elif wanted:
            path = targets["partials"].path(preview.index)
            name = f"{path.stem}-step-{preview.step:0{len(str(preview.steps))}d}.png"
            write_png(path.with_name(name), image, {"Software": "kiloword"})
    for index, images in enumerate(frames if where.animate else []):
        write_moving(targets["animations"].path(index), images)
    return finals


def _previews(painter: "Painter", job: "Job", partials: int, every: bool) -> Iterator[tuple["Preview", bool]]:
    """Previews of the job and whether each is one of the `partials`; `every` asks for those of all other steps."""
    from kiloword.engine.preview import shown_steps

    for preview in painter.run(replace(job, partials=None if every else partials)):
        yield preview, preview.step in shown_steps(preview.steps, partials)


def _asked(what: What, job: "Job") -> dict[str, Any]:
    """What was asked for, as it is written down: words, or the number of a class."""
    if isinstance(job.prompt, int):
        return {"prompt": None, "class": job.prompt}
    return {"prompt": what.prompt}


def _texts(what: What, job: "Job", painter: "Painter", seed: int) -> dict[str, str]:
    values = {**_asked(what, job), "style": what.style, "seed": seed, "model": painter.card.name}
    return {"Software": "kiloword", **{name: str(value) for name, value in values.items() if value is not None}}
