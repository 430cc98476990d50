"""The emoji evaluation: every figure of a model that draws and describes emoji, as one table that JSON can hold.

Source: defined here; docs/evaluation.md says in words what each figure means.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from kiloword.data.emoji.summary import complete, load_summary
from kiloword.data.shards import replace_file
from kiloword.engine.painter import Painter
from kiloword.evaluation.album import SPLITS, Album, Progress, draw_of, load_album
from kiloword.evaluation.description import RULE, judge
from kiloword.evaluation.drawing import Session
from kiloword.evaluation.features import MEANING, SPACES
from kiloword.evaluation.likelihood import likelihood
from kiloword.evaluation.memorisation import TrainingSet, memorisation
from kiloword.evaluation.reconstruction import reconstruction
from kiloword.evaluation.sheet import comparison
from kiloword.evaluation.subject import Copies, Gallery, by_kind, by_style, score

# Axes: p pictures asked for, H W pixels.

_SHOWN = 30  # prompts of each split on a contact sheet
_PAIRS = ("train", "held_out")  # the splits whose subjects were trained on


@dataclass(frozen=True)
class Exam:
    """The pictures of one split that are asked for, by their place in the album, and what the model made of them."""

    asked: list[int]
    prompts: list[str]
    seeds: list[int]
    drawn: UInt8[Tensor, "p 4 H W"]
    seconds: float


def evaluate_emoji(
    painter: Painter,
    data: Path,
    *,
    prompts: int = 300,
    seed: int = 0,
    batch: int = 50,
    candidates: int = 1,
    progress: Progress | None = None,
    sheet: Path | None = None,
    record: Path | None = None,
) -> dict[str, Any]:
    """All figures of a model on a built emoji set, with at most `prompts` prompts a split, best of `candidates` each.

    Equal arguments give equal figures, but for `speed`. `progress` is told (what, done, in all). `sheet`, if given,
    becomes a PNG (drawn, true and nearest picture), `record` a file with a line of JSON for each picture drawn.
    """
    _check(painter, prompts, batch, candidates)
    session = Session(painter, batch, progress, candidates)
    album = load_album(data, session.size, progress)
    styles = [style for style in album.counts("style") if style in painter.card.styles]
    if not styles:
        known, held = ", ".join(painter.card.styles) or "none", ", ".join(album.counts("style"))
        raise ValueError(f"{painter.card.name} knows none of the styles in {data} ({held}); it knows: {known}")
    gallery = Gallery(album)
    exams = {split: _exam(session, album, split, styles, prompts, seed) for split in SPLITS}
    training = TrainingSet(gallery)
    asked = {split: exam.asked for split, exam in exams.items()}
    descriptions = _descriptions(session, album, asked)
    figures: dict[str, Any] = {split: _accuracy(gallery, exam.asked, exam.drawn) for split, exam in exams.items()}
    figures["describe"] = _describe(painter, album, asked, descriptions)
    figures["ceiling"] = _ceiling(session, gallery, asked)
    figures["chance"] = _chance(gallery, asked)
    figures["baseline"] = _baseline(gallery, asked, seed)
    figures["look_alikes"], figures["styles"] = _parts(gallery, exams)
    held_out = [index for index, row in enumerate(album.rows) if row["split"] != SPLITS["train"]]
    figures["reconstruction"] = reconstruction(session, album.pixels[held_out])
    figures["memorisation"] = {
        split: memorisation(session, training, exam.asked, exam.drawn) for split, exam in exams.items()
    }
    figures["likelihood"] = _likelihood(session, album, exams)
    figures["speed"] = _speed(session, exams)
    figures["settings"] = _settings(session, data, album, exams, seed)
    if sheet is not None:
        _show(sheet, gallery, exams)
    if record is not None:
        _record(record, gallery, training, exams, descriptions)
    return figures


def _check(painter: Painter, prompts: int, batch: int, candidates: int) -> None:
    if prompts < 1 or batch < 1 or candidates < 1:
        raise ValueError(f"prompts, batch and candidates must be at least 1, got {prompts}, {batch} and {candidates}")
    if candidates > 1 and painter.model.text is None:
        raise ValueError(f"{painter.card.name} only draws: it cannot judge {candidates} candidates")
    if not painter.card.sizes:
        raise ValueError(f"the card of {painter.card.name} names no size to draw")


def _exam(session: Session, album: Album, split: str, styles: list[str], most: int, seed: int) -> Exam:
    asked = album.choose(split, styles, most, seed)
    rows = [album.rows[index] for index in asked]
    prompts = [session.painter.phrase(row["caption"], row["style"]) for row in rows]
    seeds = [draw_of(seed, "draw/" + row["key"]) for row in rows]
    drawn, seconds = session.drawn(prompts, seeds, f"pictures drawn ({split.replace('_', ' ')})")
    return Exam(asked, prompts, seeds, drawn, seconds)


def _accuracy(gallery: Gallery, asked: Sequence[int], pictures: UInt8[Tensor, "p 4 H W"]) -> dict[str, Any]:
    figures = score(gallery.hits(asked, pictures))
    return figures | {"gradients": score(gallery.hits(asked, pictures, "gradients"))}


def _descriptions(session: Session, album: Album, asked: dict[str, list[int]]) -> dict[str, list[str]] | None:
    if session.painter.model.text is None:
        return None
    return {split: session.described(album.pixels[places]) for split, places in asked.items()}


def _describe(
    painter: Painter, album: Album, asked: dict[str, list[int]], texts: dict[str, list[str]] | None
) -> dict[str, Any] | None:
    """The share of right descriptions of each split; `details` has the other shares."""
    if texts is None:
        return None
    judged = {
        split: judge(texts[split], [album.rows[index] for index in places], painter.card.styles)
        for split, places in asked.items()
    }
    return {**{split: figures["right"] for split, figures in judged.items()}, "details": judged}


def _ceiling(session: Session, gallery: Gallery, asked: dict[str, list[int]]) -> dict[str, Any]:
    rebuilt = {split: session.rebuilt(gallery.album.pixels[places]) for split, places in asked.items()}
    return {split: _accuracy(gallery, asked[split], pictures) for split, pictures in rebuilt.items()}


def _chance(gallery: Gallery, asked: dict[str, list[int]]) -> dict[str, Any]:
    everything = [index for places in asked.values() for index in places]
    return gallery.chance(everything) | {split: gallery.chance(places) for split, places in asked.items()}


def _baseline(gallery: Gallery, asked: dict[str, list[int]], seed: int) -> dict[str, Any]:
    """What copies of other styles reach in both spaces; `styles` has the closest one's figures for each asked style."""
    copies, rows = Copies(gallery, seed), gallery.album.rows
    figures: dict[str, Any] = {
        space: {split: copies.figures(asked[split], space) for split in _PAIRS} for space in SPACES
    }
    figures["styles"] = {
        split: {
            style: copies.figures([index for index in asked[split] if rows[index]["style"] == style])["closest_style"]
            for style in sorted({rows[index]["style"] for index in asked[split]})
        }
        for split in _PAIRS
    }
    return figures


def _parts(gallery: Gallery, exams: dict[str, Exam]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The accuracy of each split by kind of subject, and by style."""
    kinds, styles = {}, {}
    for split, exam in exams.items():
        rows, hits = [gallery.album.rows[index] for index in exam.asked], gallery.hits(exam.asked, exam.drawn)
        kinds[split], styles[split] = by_kind(rows, hits), by_style(rows, hits)
    return kinds, styles


def _likelihood(session: Session, album: Album, exams: dict[str, Exam]) -> dict[str, Any]:
    pixels = {SPLITS[split]: album.pixels[exam.asked] for split, exam in exams.items()}
    return likelihood(session, pixels, {SPLITS[split]: exam.prompts for split, exam in exams.items()})


def _speed(session: Session, exams: dict[str, Exam]) -> dict[str, Any]:
    count = sum(len(exam.asked) for exam in exams.values())
    seconds = sum(exam.seconds for exam in exams.values())
    return {
        "seconds_per_picture": seconds / count if count else None,
        "batch": session.batch,
        "pictures": count,
        "device": str(session.painter.device),
        "threads": torch.get_num_threads(),
    }


def _settings(session: Session, data: Path, album: Album, exams: dict[str, Exam], seed: int) -> dict[str, Any]:
    card = session.painter.card
    return {
        "model": card.name,
        "size": list(card.sizes[0]),
        "guidance": card.guidance,
        "temperature": card.temperature,
        "top_p": card.top_p,
        "prompts": {split: len(exam.asked) for split, exam in exams.items()},
        "styles": dict(card.styles),
        "seed": seed,
        "seeds": f'of each picture: the first 31 bits of the SHA-256 of "{seed}/draw/KEY"',
        "batch": session.batch,
        "candidates": session.candidates,
        "feature_spaces": MEANING,
        "describe": RULE,
        "torch": torch.__version__,
        "data": {
            "pictures": len(album.rows),
            "styles": album.counts("style"),
            "splits": album.counts("split"),
            "damaged": album.damaged,
            "sources": load_summary(data).sources if complete(data) else {},
        },
    }


def _show(path: Path, gallery: Gallery, exams: dict[str, Exam]) -> None:
    """The first prompts of each split, one split below the other."""
    columns: list[list[Tensor]] = [[], [], []]
    for exam in exams.values():
        shown = exam.asked[:_SHOWN]
        drawn, true = exam.drawn[: len(shown)], gallery.album.pixels[shown]
        nearest = gallery.nearest(drawn, [gallery.album.rows[index]["style"] for index in shown], k=1)
        found = gallery.album.pixels[[places[0] for places in nearest]]
        for column, pictures in zip(columns, (drawn, true, found), strict=True):
            column.append(pictures)
    comparison(*map(torch.cat, columns), path=path)


def _record(
    path: Path, gallery: Gallery, training: TrainingSet, exams: dict[str, Exam], texts: dict[str, list[str]] | None
) -> None:
    """A line of JSON for each picture drawn: how it was asked for, what is nearest to it, how it is described."""
    rows, lines = gallery.album.rows, []
    for split, exam in exams.items():
        if not exam.asked:
            continue
        hits = gallery.hits(exam.asked, exam.drawn)
        trained, apart = training.nearest(exam.drawn)
        nearest = gallery.nearest(exam.drawn, [rows[index]["style"] for index in exam.asked], k=1)
        for place, index in enumerate(exam.asked):
            line = {
                "split": split,
                "key": rows[index]["key"],
                "prompt": exam.prompts[place],
                "seed": exam.seeds[place],
                "nearest": rows[nearest[place][0]]["key"],
                **{name: bool(hit[place]) for name, hit in hits.items()},
                "nearest_trained": rows[trained[place]]["key"],
                "distance_to_trained": float(apart[place]),
            }
            lines.append(line | ({} if texts is None else {"description": texts[split][place]}))
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    replace_file(path, content.encode())
