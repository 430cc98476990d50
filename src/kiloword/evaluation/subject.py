"""Subject accuracy: is the picture that looks most like the drawn one a picture of what was asked for?

Nearest neighbours as classifiers after Cover and Hart 1967; chance is what a random ranking is expected to reach.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from kiloword.evaluation.features import SPACES, distances, features
from kiloword.evaluation.image_set import ImageSet, draw_of

# Axes: p pictures judged, H W pixels.

Hits = dict[str, Bool[Tensor, "p"]]
KINDS = ("faces", "clocks", "people", "rest")
_MATCHES = {"": "base", "_exact": "code"}
_TOP = (1, 5)


class Gallery:
    """An image set to be searched: all its pictures, of every split and skin tone, in every feature space."""

    def __init__(self, image_set: ImageSet):
        self.image_set = image_set
        self.features = {space: features(space, image_set.pixels) for space in SPACES}
        self.by_style: dict[str, list[int]] = defaultdict(list)
        for index, row in enumerate(image_set.rows):
            self.by_style[row["style"]].append(index)
        self.at = {(row["code"], row["style"]): index for index, row in enumerate(image_set.rows)}

    def nearest(
        self, pictures: UInt8[Tensor, "p 4 H W"], styles: Sequence[str], space: str = "pixels", k: int = max(_TOP)
    ) -> list[list[int]]:
        """The k pictures of each one's style that look most like it, nearest first."""
        mine = features(space, pictures)
        found: list[list[int]] = [[] for _ in styles]
        for style in sorted(set(styles)):
            rows = [row for row, asked in enumerate(styles) if asked == style]
            candidates = self.by_style[style]
            apart = distances(mine[rows], self.features[space][candidates])
            ranked = apart.sort(dim=1, stable=True).indices[:, :k]
            for row, order in zip(rows, ranked.tolist(), strict=True):
                found[row] = [candidates[place] for place in order]
        return found

    def hits(self, asked: Sequence[int], pictures: UInt8[Tensor, "p 4 H W"], space: str = "pixels") -> Hits:
        """Whether the asked subject is among the nearest pictures: top1, top5, and both for the exact code."""
        rows = self.image_set.rows
        nearest = self.nearest(pictures, [rows[index]["style"] for index in asked], space)
        return {
            f"top{k}{suffix}": torch.tensor(
                [
                    any(rows[near][field] == rows[index][field] for near in found[:k])
                    for index, found in zip(asked, nearest, strict=True)
                ],
                dtype=torch.bool,
            )
            for k in _TOP
            for suffix, field in _MATCHES.items()
        }

    def chance(self, asked: Sequence[int]) -> dict[str, float | None]:
        """What a random ranking of the candidates is expected to reach, exactly."""
        rows, figures = self.image_set.rows, {}
        for suffix, field in _MATCHES.items():
            right = Counter((row["style"], row[field]) for row in rows)
            counts = [
                (len(self.by_style[rows[index]["style"]]), right[rows[index]["style"], rows[index][field]])
                for index in asked
            ]
            for k in _TOP:
                expected = [random_hit(*count, k) for count in counts]
                figures[f"top{k}{suffix}"] = sum(expected) / len(expected) if expected else None
        return figures


def random_hit(candidates: int, right: int, k: int) -> float:
    """The probability that one of `right` pictures is among the first k of a random order of all candidates."""
    return 1 - math.comb(candidates - right, k) / math.comb(candidates, k) if k < candidates else float(right > 0)


def score(hits: Hits, rows: Sequence[int] | None = None) -> dict[str, Any]:
    """The share of hits of each sort, over all pictures or some, and their number."""
    chosen = {name: hit if rows is None else hit[list(rows)] for name, hit in hits.items()}
    count = len(next(iter(chosen.values())))
    return {**{name: float(hit.double().mean()) if count else None for name, hit in chosen.items()}, "n": count}


def by_kind(rows: Sequence[dict[str, Any]], hits: Hits) -> dict[str, Any]:
    """The score of each kind of subject: those that look alike, and the rest."""
    kinds = [kind_of(row) for row in rows]
    return {kind: score(hits, [place for place, own in enumerate(kinds) if own == kind]) for kind in KINDS}


def by_style(rows: Sequence[dict[str, Any]], hits: Hits) -> dict[str, Any]:
    """The score of each style."""
    styles = sorted({row["style"] for row in rows})
    return {style: score(hits, [place for place, row in enumerate(rows) if row["style"] == style]) for style in styles}


def kind_of(row: dict[str, Any]) -> str:
    """To which group of look-alikes a picture belongs; Unicode's groups, clocks by their caption."""
    if row["caption"].endswith(("o’clock", "o'clock", "-thirty")):
        return "clocks"
    if row["group"].startswith("smileys"):
        return "faces"
    return "people" if row["group"].startswith("people") else "rest"


class Copies:
    """The baseline that draws nothing: the true picture of the subject in another style that was trained on."""

    def __init__(self, gallery: Gallery, seed: int):
        self.gallery, self.seed = gallery, seed
        self.apart = self._style_distances()

    def figures(self, asked: Sequence[int], space: str = "pixels") -> dict[str, dict[str, Any]]:
        """Scores of a random style, of the style nearest to the asked one, and of the best style for each picture.

        Prompts whose subject was trained on in no other style are left out.
        """
        sources = {index: self._sources(index) for index in asked}
        kept = [index for index in asked if sources[index]]
        if not kept:
            return {name: {"n": 0} for name in ("random_style", "closest_style", "best_style")}
        pixels = self.gallery.image_set.pixels
        flat = [(index, source) for index in kept for source in sources[index]]
        hits = self.gallery.hits([index for index, _ in flat], pixels[[source for _, source in flat]], space)
        place = {pair: number for number, pair in enumerate(flat)}
        picked = {
            "random_style": [place[index, self._random(index, sources[index])] for index in kept],
            "closest_style": [place[index, sources[index][0]] for index in kept],
        }
        best = {
            name: torch.stack([hit[[place[index, source] for source in sources[index]]].any() for index in kept])
            for name, hit in hits.items()
        }
        return {**{name: score(hits, rows) for name, rows in picked.items()}, "best_style": score(best)}

    def _sources(self, index: int) -> list[int]:
        """The training pictures of the same code in other styles, those in the most similar style first."""
        row, gallery = self.gallery.image_set.rows[index], self.gallery
        others = [gallery.at.get((row["code"], style)) for style in gallery.by_style if style != row["style"]]
        trained = [other for other in others if other is not None and gallery.image_set.rows[other]["split"] == "train"]
        return sorted(trained, key=lambda other: self.apart[row["style"], gallery.image_set.rows[other]["style"]])

    def _random(self, index: int, sources: list[int]) -> int:
        return sources[draw_of(self.seed, "copy/" + self.gallery.image_set.rows[index]["key"]) % len(sources)]

    def _style_distances(self) -> dict[tuple[str, str], float]:
        """The mean distance of the pictures that two styles have of the same training subjects."""
        gallery, rows, apart = self.gallery, self.gallery.image_set.rows, {}
        trained = {key: index for key, index in gallery.at.items() if rows[index]["split"] == "train"}
        values = gallery.features["pixels"]
        for one in gallery.by_style:
            for two in gallery.by_style:
                pairs = [(index, trained.get((code, two))) for (code, style), index in trained.items() if style == one]
                both = [(index, other) for index, other in pairs if other is not None]
                if not both:
                    apart[one, two] = math.inf
                    continue
                left, right = (values[list(places)] for places in zip(*both, strict=True))
                apart[one, two] = float((left - right).square().sum(1).sqrt().mean())
        return apart
