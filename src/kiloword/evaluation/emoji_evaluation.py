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
from kiloword.evaluation.description import RULE, judge
from kiloword.evaluation.feature_spaces import MEANING, SPACES
from kiloword.evaluation.image_set import SPLITS, ImageSet, Progress, draw_of, load_image_set
from kiloword.evaluation.likelihood import likelihood
from kiloword.evaluation.memorisation import TrainingSet, memorisation
from kiloword.evaluation.reconstruction import reconstruction
from kiloword.evaluation.session import Session
from kiloword.evaluation.sheet import comparison
from kiloword.evaluation.subject import Copies, Gallery, by_kind, by_style, score

# Axes: p pictures asked for, H W pixels.

_SHOWN = 30  # prompts of each split on a contact sheet
_PAIRS = ("train", "held_out")  # the splits whose subjects were trained on


@dataclass(frozen=True)
class SplitResult:
    """The pictures of one split that are asked for, by their place in the set, and what the model made of them."""

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
    image_set = load_image_set(data, session.size, progress)
    styles = [style for style in image_set.counts("style") if style in painter.card.styles]
    if not styles:
        known, held = ", ".join(painter.card.styles) or "none", ", ".join(image_set.counts("style"))
        raise ValueError(f"{painter.card.name} knows none of the styles in {data} ({held}); it knows: {known}")
    gallery = Gallery(image_set)
    results = {split: _result(session, image_set, split, styles, prompts, seed) for split in SPLITS}
    training = TrainingSet(gallery)
    asked = {split: result.asked for split, result in results.items()}
    descriptions = _descriptions(session, image_set, asked)
    figures: dict[str, Any] = {s: _accuracy(gallery, result.asked, result.drawn) for s, result in results.items()}
    figures["describe"] = _describe(painter, image_set, asked, descriptions)
    figures["ceiling"] = _ceiling(session, gallery, asked)
    figures["chance"] = _chance(gallery, asked)
    figures["baseline"] = _baseline(gallery, asked, seed)
    figures["look_alikes"], figures["styles"] = _parts(gallery, results)
    held_out = [index for index, row in enumerate(image_set.rows) if row["split"] != SPLITS["train"]]
    figures["reconstruction"] = reconstruction(session, image_set.pixels[held_out])
    figures["memorisation"] = {
        split: memorisation(session, training, result.asked, result.drawn) for split, result in results.items()
    }
    figures["likelihood"] = _likelihood(session, image_set, results)
    figures["speed"] = _speed(session, results)
    figures["settings"] = _settings(session, data, image_set, results, seed)
    if sheet is not None:
        _show(sheet, gallery, results)
    if record is not None:
        _record(record, gallery, training, results, descriptions)
    return figures


def _check(painter: Painter, prompts: int, batch: int, candidates: int) -> None:
    if prompts < 1 or batch < 1 or candidates < 1:
        raise ValueError(f"prompts, batch and candidates must be at least 1, got {prompts}, {batch} and {candidates}")
    if candidates > 1 and painter.model.text is None:
        raise ValueError(f"{painter.card.name} only draws: it cannot judge {candidates} candidates")
    if not painter.card.sizes:
        raise ValueError(f"the card of {painter.card.name} names no size to draw")


def _result(session: Session, image_set: ImageSet, split: str, styles: list[str], most: int, seed: int) -> SplitResult:
    asked = image_set.choose(split, styles, most, seed)
    rows = [image_set.rows[index] for index in asked]
    prompts = [session.painter.phrase(row["caption"], row["style"]) for row in rows]
    seeds = [draw_of(seed, "draw/" + row["key"]) for row in rows]
    drawn, seconds = session.drawn(prompts, seeds, f"pictures drawn ({split.replace('_', ' ')})")
    return SplitResult(asked, prompts, seeds, drawn, seconds)


def _accuracy(gallery: Gallery, asked: Sequence[int], pictures: UInt8[Tensor, "p 4 H W"]) -> dict[str, Any]:
    figures = score(gallery.hits(asked, pictures))
    return figures | {"gradients": score(gallery.hits(asked, pictures, "gradients"))}


def _descriptions(session: Session, image_set: ImageSet, asked: dict[str, list[int]]) -> dict[str, list[str]] | None:
    if session.painter.model.text is None:
        return None
    return {split: session.described(image_set.pixels[places]) for split, places in asked.items()}


def _describe(
    painter: Painter, image_set: ImageSet, asked: dict[str, list[int]], texts: dict[str, list[str]] | None
) -> dict[str, Any] | None:
    """The share of right descriptions of each split; `details` has the other shares."""
    if texts is None:
        return None
    judged = {
        split: judge(texts[split], [image_set.rows[index] for index in places], painter.card.styles)
        for split, places in asked.items()
    }
    return {**{split: figures["right"] for split, figures in judged.items()}, "details": judged}


def _ceiling(session: Session, gallery: Gallery, asked: dict[str, list[int]]) -> dict[str, Any]:
    rebuilt = {split: session.rebuilt(gallery.image_set.pixels[places]) for split, places in asked.items()}
    return {split: _accuracy(gallery, asked[split], pictures) for split, pictures in rebuilt.items()}


def _chance(gallery: Gallery, asked: dict[str, list[int]]) -> dict[str, Any]:
    everything = [index for places in asked.values() for index in places]
    return gallery.chance(everything) | {split: gallery.chance(places) for split, places in asked.items()}


def _baseline(gallery: Gallery, asked: dict[str, list[int]], seed: int) -> dict[str, Any]:
    """What copies of other styles reach in both spaces; `styles` has the closest one's figures for each asked style."""
    copies, rows = Copies(gallery, seed), gallery.image_set.rows
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


def _parts(gallery: Gallery, results: dict[str, SplitResult]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The accuracy of each split by kind of subject, and by style."""
    kinds, styles = {}, {}
    for split, result in results.items():
        rows, hits = [gallery.image_set.rows[index] for index in result.asked], gallery.hits(result.asked, result.drawn)
        kinds[split], styles[split] = by_kind(rows, hits), by_style(rows, hits)
    return kinds, styles


def _likelihood(session: Session, image_set: ImageSet, results: dict[str, SplitResult]) -> dict[str, Any]:
    pixels = {SPLITS[split]: image_set.pixels[result.asked] for split, result in results.items()}
    return likelihood(session, pixels, {SPLITS[split]: result.prompts for split, result in results.items()})


def _speed(session: Session, results: dict[str, SplitResult]) -> dict[str, Any]:
    count = sum(len(result.asked) for result in results.values())
    seconds = sum(result.seconds for result in results.values())
    return {
        "seconds_per_picture": seconds / count if count else None,
        "batch": session.batch,
        "pictures": count,
        "device": str(session.painter.device),
        "threads": torch.get_num_threads(),
    }


def _settings(
    session: Session, data: Path, image_set: ImageSet, results: dict[str, SplitResult], seed: int
) -> dict[str, Any]:
    card = session.painter.card
    return {
        "model": card.name,
        "size": list(card.sizes[0]),
        "guidance": card.guidance,
        "temperature": card.temperature,
        "top_p": card.top_p,
        "prompts": {split: len(result.asked) for split, result in results.items()},
        "styles": dict(card.styles),
        "seed": seed,
        "seeds": f'of each picture: the first 31 bits of the SHA-256 of "{seed}/draw/KEY"',
        "batch": session.batch,
        "candidates": session.candidates,
        "feature_spaces": MEANING,
        "describe": RULE,
        "torch": torch.__version__,
        "data": {
            "pictures": len(image_set.rows),
            "styles": image_set.counts("style"),
            "splits": image_set.counts("split"),
            "damaged": image_set.damaged,
            "sources": load_summary(data).sources if complete(data) else {},
        },
    }


def _show(path: Path, gallery: Gallery, results: dict[str, SplitResult]) -> None:
    """The first prompts of each split, one split below the other."""
    columns: list[list[Tensor]] = [[], [], []]
    for result in results.values():
        shown = result.asked[:_SHOWN]
        drawn, true = result.drawn[: len(shown)], gallery.image_set.pixels[shown]
        nearest = gallery.nearest(drawn, [gallery.image_set.rows[index]["style"] for index in shown], k=1)
        found = gallery.image_set.pixels[[places[0] for places in nearest]]
        for column, pictures in zip(columns, (drawn, true, found), strict=True):
            column.append(pictures)
    comparison(*map(torch.cat, columns), path=path)


def _record(
    path: Path, gallery: Gallery, training: TrainingSet, results: dict[str, SplitResult],
    texts: dict[str, list[str]] | None,
) -> None:  # fmt: skip
    """A line of JSON for each picture drawn: how it was asked for, what is nearest to it, how it is described."""
    rows, lines = gallery.image_set.rows, []
    for split, result in results.items():
        if not result.asked:
            continue
        hits = gallery.hits(result.asked, result.drawn)
        trained, apart = training.nearest(result.drawn)
        nearest = gallery.nearest(result.drawn, [rows[index]["style"] for index in result.asked], k=1)
        for place, index in enumerate(result.asked):
            line = {
                "split": split,
                "key": rows[index]["key"],
                "prompt": result.prompts[place],
                "seed": result.seeds[place],
                "nearest": rows[nearest[place][0]]["key"],
                **{name: bool(hit[place]) for name, hit in hits.items()},
                "nearest_trained": rows[trained[place]]["key"],
                "distance_to_trained": float(apart[place]),
            }
            lines.append(line | ({} if texts is None else {"description": texts[split][place]}))
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    replace_file(path, content.encode())
