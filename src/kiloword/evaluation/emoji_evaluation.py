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
from kiloword.evaluation.image_set import SPLITS, ImageSet, Progress, key_hash, load_image_set
from kiloword.evaluation.likelihood import likelihood
from kiloword.evaluation.memorisation import TrainingSet, memorisation
from kiloword.evaluation.reconstruction import reconstruction
from kiloword.evaluation.session import Session
from kiloword.evaluation.sheet import comparison
from kiloword.evaluation.subject import Copies, Gallery, by_kind, by_style, score

# Axes: p pictures evaluated, H W pixels.

_SHOWN = 30  # prompts of each split on a contact sheet
_PAIRS = ("train", "held_out")  # the splits whose subjects were trained on


@dataclass(frozen=True)
class SplitResult:
    """The pictures of one split that are evaluated, by their `indices` in the set, and what the model drew for them."""

    indices: list[int]
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
    """All figures of a model on a built emoji set, with up to `prompts` prompts a split, best of `candidates` each.

    Equal arguments give equal figures, but for `speed`. `progress` is called with (stage, done, in all). `sheet`, if
    given, becomes a PNG (drawn, true and nearest picture), `record` a file with a line of JSON for each picture drawn.
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
    indices = {split: result.indices for split, result in results.items()}
    descriptions = _descriptions(session, image_set, indices)
    figures: dict[str, Any] = {s: _accuracy(gallery, result.indices, result.drawn) for s, result in results.items()}
    figures["describe"] = _describe(painter, image_set, indices, descriptions)
    figures["ceiling"] = _ceiling(session, gallery, indices)
    figures["chance"] = _chance(gallery, indices)
    figures["baseline"] = _baseline(gallery, indices, seed)
    figures["look_alikes"], figures["styles"] = _parts(gallery, results)
    held_out = [index for index, record in enumerate(image_set.metadata) if record["split"] != SPLITS["train"]]
    figures["reconstruction"] = reconstruction(session, image_set.pixels[held_out])
    figures["memorisation"] = {
        split: memorisation(session, training, result.indices, result.drawn) for split, result in results.items()
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


def _result(session: Session, image_set: ImageSet, split: str, styles: list[str], limit: int, seed: int) -> SplitResult:
    indices = image_set.choose(split, styles, limit, seed)
    metadata = [image_set.metadata[index] for index in indices]
    prompts = [session.painter.phrase(record["caption"], record["style"]) for record in metadata]
    seeds = [key_hash(seed, "draw/" + record["key"]) for record in metadata]
    drawn, seconds = session.drawn(prompts, seeds, f"pictures drawn ({split.replace('_', ' ')})")
    return SplitResult(indices, prompts, seeds, drawn, seconds)


def _accuracy(gallery: Gallery, indices: Sequence[int], pictures: UInt8[Tensor, "p 4 H W"]) -> dict[str, Any]:
    figures = score(gallery.hits(indices, pictures))
    return figures | {"gradients": score(gallery.hits(indices, pictures, "gradients"))}


def _descriptions(session: Session, image_set: ImageSet, indices: dict[str, list[int]]) -> dict[str, list[str]] | None:
    if session.painter.model.text is None:
        return None
    return {split: session.described(image_set.pixels[chosen]) for split, chosen in indices.items()}


def _describe(
    painter: Painter, image_set: ImageSet, indices: dict[str, list[int]], texts: dict[str, list[str]] | None
) -> dict[str, Any] | None:
    """The share of right descriptions of each split; `details` has the other shares."""
    if texts is None:
        return None
    judged = {
        split: judge(texts[split], [image_set.metadata[index] for index in chosen], painter.card.styles)
        for split, chosen in indices.items()
    }
    return {**{split: figures["right"] for split, figures in judged.items()}, "details": judged}


def _ceiling(session: Session, gallery: Gallery, indices: dict[str, list[int]]) -> dict[str, Any]:
    rebuilt = {split: session.rebuilt(gallery.image_set.pixels[chosen]) for split, chosen in indices.items()}
    return {split: _accuracy(gallery, indices[split], pictures) for split, pictures in rebuilt.items()}


def _chance(gallery: Gallery, indices: dict[str, list[int]]) -> dict[str, Any]:
    everything = [index for chosen in indices.values() for index in chosen]
    return gallery.chance(everything) | {split: gallery.chance(chosen) for split, chosen in indices.items()}


def _baseline(gallery: Gallery, indices: dict[str, list[int]], seed: int) -> dict[str, Any]:
    """What copies of other styles reach in both spaces; `styles` has the closest one's figures for each style."""
    copies, metadata = Copies(gallery, seed), gallery.image_set.metadata
    figures: dict[str, Any] = {
        space: {split: copies.figures(indices[split], space) for split in _PAIRS} for space in SPACES
    }
    figures["styles"] = {
        split: {
            style: copies.figures([i for i in indices[split] if metadata[i]["style"] == style])["closest_style"]
            for style in sorted({metadata[index]["style"] for index in indices[split]})
        }
        for split in _PAIRS
    }
    return figures


def _parts(gallery: Gallery, results: dict[str, SplitResult]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The accuracy of each split by kind of subject, and by style."""
    kinds, styles = {}, {}
    for split, result in results.items():
        metadata = [gallery.image_set.metadata[index] for index in result.indices]
        hits = gallery.hits(result.indices, result.drawn)
        kinds[split], styles[split] = by_kind(metadata, hits), by_style(metadata, hits)
    return kinds, styles


def _likelihood(session: Session, image_set: ImageSet, results: dict[str, SplitResult]) -> dict[str, Any]:
    pixels = {SPLITS[split]: image_set.pixels[result.indices] for split, result in results.items()}
    return likelihood(session, pixels, {SPLITS[split]: result.prompts for split, result in results.items()})


def _speed(session: Session, results: dict[str, SplitResult]) -> dict[str, Any]:
    count = sum(len(result.indices) for result in results.values())
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
        "prompts": {split: len(result.indices) for split, result in results.items()},
        "styles": dict(card.styles),
        "seed": seed,
        "seeds": f'of each picture: the first 31 bits of the SHA-256 of "{seed}/draw/KEY"',
        "batch": session.batch,
        "candidates": session.candidates,
        "feature_spaces": MEANING,
        "describe": RULE,
        "torch": torch.__version__,
        "data": {
            "pictures": len(image_set.metadata),
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
        shown = result.indices[:_SHOWN]
        drawn, true = result.drawn[: len(shown)], gallery.image_set.pixels[shown]
        nearest = gallery.nearest(drawn, [gallery.image_set.metadata[index]["style"] for index in shown], k=1)
        found = gallery.image_set.pixels[[ranked[0] for ranked in nearest]]
        for column, pictures in zip(columns, (drawn, true, found), strict=True):
            column.append(pictures)
    comparison(*map(torch.cat, columns), path=path)


def _record(
    path: Path, gallery: Gallery, training: TrainingSet, results: dict[str, SplitResult],
    texts: dict[str, list[str]] | None,
) -> None:  # fmt: skip
    """A line of JSON for each picture drawn: its prompt and seed, what is nearest to it, how it is described."""
    metadata, lines = gallery.image_set.metadata, []
    for split, result in results.items():
        if not result.indices:
            continue
        hits = gallery.hits(result.indices, result.drawn)
        trained, apart = training.nearest(result.drawn)
        nearest = gallery.nearest(result.drawn, [metadata[index]["style"] for index in result.indices], k=1)
        for i, index in enumerate(result.indices):
            line = {
                "split": split,
                "key": metadata[index]["key"],
                "prompt": result.prompts[i],
                "seed": result.seeds[i],
                "nearest": metadata[nearest[i][0]]["key"],
                **{name: bool(hit[i]) for name, hit in hits.items()},
                "nearest_trained": metadata[trained[i]]["key"],
                "distance_to_trained": float(apart[i]),
            }
            lines.append(line | ({} if texts is None else {"description": texts[split][i]}))
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    replace_file(path, content.encode())
