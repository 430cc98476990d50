"""The evaluation protocol of a generator: what it is asked for, by what it is chosen, and what its pictures are worth.

Half of the prompts choose (the learning rate, guidance and temperature), the other half judges: nothing is chosen by
what is reported (Dwork et al. 2015, The Reusable Holdout, on why). Binkowski et al. 2018 for the distance.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from kiloword.engine.painter import Painter
from kiloword.evaluation.feature_spaces import SPACES
from kiloword.evaluation.image_set import SPLITS, ImageSet, key_hash, to_bytes
from kiloword.evaluation.likelihood import picture_bits
from kiloword.evaluation.memorisation import TrainingSet, memorisation
from kiloword.evaluation.session import Session
from kiloword.evaluation.subject import Gallery, score
from kiloword.recipes.context import Report
from kiloword.recipes.training_set import Pictures
from kiloword.studies.budget import SIDE, Judging
from kiloword.studies.jobs import with_card
from kiloword.studies.measure import apart
from kiloword.training.augmentation import shrink

# Axes: n pictures, S pixels a side.

SPACE = "gradients"  # in which is chosen
NARROWEST = 0.1  # of the mean spread of features: none counts as narrower


@dataclass(frozen=True)
class EvaluationProtocol:
    """All pictures of a study, searchable, and the places of those that are asked for; `others` were not."""

    gallery: Gallery
    training: TrainingSet
    choosing: list[int]
    judging: dict[str, list[int]]
    others: UInt8[Tensor, "n 4 S S"]
    settings: Judging
    seed: int

    @property
    def image_set(self) -> ImageSet:
        return self.gallery.image_set

    @property
    def judged(self) -> list[int]:
        """All that is judged by, of every split."""
        return [place for places in self.judging.values() for place in places]

    @property
    def shown(self) -> list[int]:
        """What is on the sheet: of every split the first, as many as can be."""
        each = -(-self.settings.shown // max(1, len(self.judging)))
        return [place for places in self.judging.values() for place in places[:each]][: self.settings.shown]

    def prompts(self, painter: Painter, places: Sequence[int]) -> list[str]:
        rows = [self.image_set.metadata[place] for place in places]
        return [painter.phrase(row["caption"], row["style"]) for row in rows]

    def seeds(self, places: Sequence[int]) -> list[int]:
        """One a picture, the same for all systems."""
        return [key_hash(self.seed, "draw/" + self.image_set.metadata[place]["key"]) for place in places]

    def drawn(self, painter: Painter, places: Sequence[int]) -> UInt8[Tensor, "n 4 S S"]:
        """A picture of each, as the painter's card says."""
        session = Session(painter, self.settings.batch)
        return session.drawn(self.prompts(painter, places), self.seeds(places))[0]

    def distance(self, drawn: UInt8[Tensor, "n 4 S S"], places: Sequence[int], space: str = SPACE) -> dict[str, float]:
        """Kernel distance between drawn pictures and true ones, with its interval."""
        return asdict(apart(space, drawn, self.image_set.pixels[list(places)], self.others, NARROWEST))


def protocol_for(pictures: Pictures, settings: Judging, seed: int) -> EvaluationProtocol:
    """The protocol over a study's pictures. Raises ValueError if there are too few to choose and to judge by."""
    batches = pictures.values[:].split(256)
    image_set = ImageSet(list(pictures.metadata), torch.cat([to_bytes(shrink(batch, SIDE)) for batch in batches]))
    styles = list(image_set.counts("style"))
    asked = {split: image_set.choose(split, styles, settings.prompts, seed) for split in SPLITS}
    choosing = [place for places in asked.values() for place in places[::2]]
    judging = {split: places[1::2] for split, places in asked.items() if places[1::2]}
    taken = {place for places in asked.values() for place in places}
    train = image_set.matching(split=SPLITS["train"])
    others = [place for place in train if place not in taken] or train
    if min(len(choosing), sum(map(len, judging.values())), len(others)) < 2:
        raise ValueError(f"{len(image_set.metadata)} pictures are too few to choose by some and to judge by others")
    gallery, others_drawn = Gallery(image_set), image_set.pixels[others]
    return EvaluationProtocol(gallery, TrainingSet(gallery), choosing, judging, others_drawn, settings, seed)


def evaluated(protocol: EvaluationProtocol, painter: Painter, stage: str, report: Report) -> dict[str, Any]:
    """All figures of a painter that do not depend on the machine."""
    tried = attempts(protocol, painter, stage, report)
    best = min(tried, key=lambda one: one["kernel_distance"])
    painter = with_card(painter, guidance=best["guidance"], temperature=best["temperature"])
    session, image_set, judged = Session(painter, protocol.settings.batch), protocol.image_set, protocol.judged
    report(f"pictures judged, {stage}", 0, len(judged), {})
    drawn = protocol.drawn(painter, judged)
    report(f"pictures judged, {stage}", len(judged), len(judged), {})
    rebuilt = session.rebuilt(image_set.pixels[judged])
    parts_of = parted(protocol.judging)
    gallery, judging = protocol.gallery, protocol.judging
    return {
        "chosen": best,
        "tried": tried,
        "kernel_distance": {space: protocol.distance(drawn, judged, space) for space in SPACES},
        "ceiling_distance": {space: protocol.distance(rebuilt, judged, space) for space in SPACES},
        "accuracy": {s: score(gallery.hits(judging[s], drawn[part])) for s, part in parts_of.items()},
        "ceiling": {s: score(gallery.hits(judging[s], rebuilt[part])) for s, part in parts_of.items()},
        "chance": {split: gallery.chance(places) for split, places in judging.items()},
        "memorisation": {
            s: memorisation(session, protocol.training, judging[s], drawn[part]) for s, part in parts_of.items()
        },
        "bits": bits(protocol, session),
        "tokens": session.layout.count,
        "parameters": parameters(painter),
    }


def attempts(protocol: EvaluationProtocol, painter: Painter, stage: str, report: Report) -> list[dict[str, float]]:
    """Every guidance with every temperature, and the distance of what they draw for the prompts that choose."""
    found, settings = [], list(product(protocol.settings.guidances, protocol.settings.temperatures))
    for number, (guidance, temperature) in enumerate(settings, start=1):
        drawn = protocol.drawn(with_card(painter, guidance=guidance, temperature=temperature), protocol.choosing)
        distance = protocol.distance(drawn, protocol.choosing)["value"]
        found.append({"guidance": guidance, "temperature": temperature, "kernel_distance": distance})
        report(f"settings tried, {stage}", number, len(settings), {})
    return found


def parted(judging: dict[str, list[int]]) -> dict[str, slice]:
    """Where the pictures of each split stand among all that are judged by."""
    found, start = {}, 0
    for split, places in judging.items():
        found[split] = slice(start, start + len(places))
        start += len(places)
    return found


def bits(protocol: EvaluationProtocol, session: Session) -> dict[str, float] | None:
    """Mean bits of each split's tokens given their prompts; None for heads that have no density."""
    if not session.painter.model.picture.head.has_density:
        return None
    found = {}
    for split, places in protocol.judging.items():
        prompts = protocol.prompts(session.painter, places)
        found[split] = float(picture_bits(session, protocol.image_set.pixels[places], prompts).mean())
    return found


def parameters(painter: Painter) -> dict[str, int]:
    """Of each part of a model."""
    model = painter.model
    named = {
        "tokenizer": model.picture.tokenizer, "head": model.picture.head, "prompt": model.prompt,
        "transformer": model.transformer,
    }  # fmt: skip
    return {name: sum(p.numel() for p in part.parameters()) for name, part in named.items()}  # type: ignore[union-attr]
