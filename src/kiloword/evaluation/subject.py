"""Subject accuracy: does the picture that looks most like the drawn one show the subject of the prompt?

Nearest neighbours as classifiers after Cover and Hart 1967; chance is what a random ranking is expected to reach.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from kiloword.evaluation.feature_spaces import SPACES, distances, features
from kiloword.evaluation.image_set import ImageSet, key_hash

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
        for index, record in enumerate(image_set.metadata):
            self.by_style[record["style"]].append(index)
        self.index_of = {(record["code"], record["style"]): index for index, record in enumerate(image_set.metadata)}

    def nearest(
        self, pictures: UInt8[Tensor, "p 4 H W"], styles: Sequence[str], space: str = "pixels", k: int = max(_TOP)
    ) -> list[list[int]]:
        """For each picture the indices of the k in its style that look most like it, nearest first."""
        drawn = features(space, pictures)
        found: list[list[int]] = [[] for _ in styles]
        for style in sorted(set(styles)):
            positions = [i for i, other in enumerate(styles) if other == style]
            candidates = self.by_style[style]
            apart = distances(drawn[positions], self.features[space][candidates])
            ranked = apart.sort(dim=1, stable=True).indices[:, :k]
            for i, order in zip(positions, ranked.tolist(), strict=True):
                found[i] = [candidates[j] for j in order]
        return found

    def hits(self, indices: Sequence[int], pictures: UInt8[Tensor, "p 4 H W"], space: str = "pixels") -> Hits:
        """Whether the prompt's subject is among the nearest pictures: top1, top5, and both for the exact code.

        `indices` are those of the true pictures, one for each drawn picture.
        """
        metadata = self.image_set.metadata
        nearest = self.nearest(pictures, [metadata[index]["style"] for index in indices], space)
        return {
            f"top{k}{suffix}": torch.tensor(
                [
                    any(metadata[near][field] == metadata[index][field] for near in found[:k])
                    for index, found in zip(indices, nearest, strict=True)
                ],
                dtype=torch.bool,
            )
            for k in _TOP
            for suffix, field in _MATCHES.items()
        }

    def chance(self, indices: Sequence[int]) -> dict[str, float | None]:
        """What a random ranking of the candidates is expected to reach, exactly."""
        metadata, figures = self.image_set.metadata, {}
        for suffix, field in _MATCHES.items():
            right = Counter((record["style"], record[field]) for record in metadata)
            counts = [
                (len(self.by_style[metadata[index]["style"]]), right[metadata[index]["style"], metadata[index][field]])
                for index in indices
            ]
            for k in _TOP:
                expected = [random_hit(*count, k) for count in counts]
                figures[f"top{k}{suffix}"] = sum(expected) / len(expected) if expected else None
        return figures


def random_hit(candidates: int, right: int, k: int) -> float:
    """The probability that one of `right` pictures is among the first k of a random order of all candidates."""
    return 1 - math.comb(candidates - right, k) / math.comb(candidates, k) if k < candidates else float(right > 0)


def score(hits: Hits, positions: Sequence[int] | None = None) -> dict[str, Any]:
    """The share of hits of each sort, over all pictures or those at some positions, and their number."""
    chosen = {name: hit if positions is None else hit[list(positions)] for name, hit in hits.items()}
    count = len(next(iter(chosen.values())))
    return {**{name: float(hit.double().mean()) if count else None for name, hit in chosen.items()}, "n": count}


def by_kind(metadata: Sequence[dict[str, Any]], hits: Hits) -> dict[str, Any]:
    """The score of each kind of subject: those that look alike, and the rest."""
    kinds = [kind_of(record) for record in metadata]
    return {kind: score(hits, [i for i, other in enumerate(kinds) if other == kind]) for kind in KINDS}


def by_style(metadata: Sequence[dict[str, Any]], hits: Hits) -> dict[str, Any]:
    """The score of each style."""
    styles = sorted({record["style"] for record in metadata})
    members = {style: [i for i, record in enumerate(metadata) if record["style"] == style] for style in styles}
    return {style: score(hits, members[style]) for style in styles}


def kind_of(record: dict[str, Any]) -> str:
    """To which group of look-alikes a picture belongs; Unicode's groups, clocks by their caption."""
    if record["caption"].endswith(("o’clock", "o'clock", "-thirty")):
        return "clocks"
    if record["group"].startswith("smileys"):
        return "faces"
    return "people" if record["group"].startswith("people") else "rest"


class Copies:
    """The baseline that draws nothing: the true picture of the subject in another style that was trained on."""

    def __init__(self, gallery: Gallery, seed: int):
        self.gallery, self.seed = gallery, seed
        self.apart = self._style_distances()

    def figures(self, indices: Sequence[int], space: str = "pixels") -> dict[str, dict[str, Any]]:
        """Scores of a random style, of the style nearest to the true one, and of the best style for each picture.

        Prompts whose subject was trained on in no other style are left out.
        """
        sources = {index: self._sources(index) for index in indices}
        kept = [index for index in indices if sources[index]]
        if not kept:
            return {name: {"n": 0} for name in ("random_style", "closest_style", "best_style")}
        pixels = self.gallery.image_set.pixels
        flat = [(index, source) for index in kept for source in sources[index]]
        hits = self.gallery.hits([index for index, _ in flat], pixels[[source for _, source in flat]], space)
        position = {pair: i for i, pair in enumerate(flat)}
        picked = {
            "random_style": [position[index, self._random(index, sources[index])] for index in kept],
            "closest_style": [position[index, sources[index][0]] for index in kept],
        }
        best = {
            name: torch.stack([hit[[position[index, source] for source in sources[index]]].any() for index in kept])
            for name, hit in hits.items()
        }
        return {**{name: score(hits, positions) for name, positions in picked.items()}, "best_style": score(best)}

    def _sources(self, index: int) -> list[int]:
        """The training pictures of the same code in other styles, those in the most similar style first."""
        metadata, gallery = self.gallery.image_set.metadata, self.gallery
        code, style = metadata[index]["code"], metadata[index]["style"]
        others = [gallery.index_of.get((code, other)) for other in gallery.by_style if other != style]
        trained = [other for other in others if other is not None and metadata[other]["split"] == "train"]
        return sorted(trained, key=lambda other: self.apart[style, metadata[other]["style"]])

    def _random(self, index: int, sources: list[int]) -> int:
        return sources[key_hash(self.seed, "copy/" + self.gallery.image_set.metadata[index]["key"]) % len(sources)]

    def _style_distances(self) -> dict[tuple[str, str], float]:
        """The mean distance of the pictures that two styles have of the same training subjects."""
        gallery, metadata, apart = self.gallery, self.gallery.image_set.metadata, {}
        trained = {key: index for key, index in gallery.index_of.items() if metadata[index]["split"] == "train"}
        values = gallery.features["pixels"]
        for first in gallery.by_style:
            for second in gallery.by_style:
                here = {code: index for (code, style), index in trained.items() if style == first}
                pairs = [(index, trained.get((code, second))) for code, index in here.items()]
                both = [(index, other) for index, other in pairs if other is not None]
                if not both:
                    apart[first, second] = math.inf
                    continue
                left, right = (values[list(indices)] for indices in zip(*both, strict=True))
                apart[first, second] = float((left - right).square().sum(1).sqrt().mean())
        return apart
