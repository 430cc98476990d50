"""The evaluation protocol of a generator: prompts for choosing settings, prompts for evaluation, and all figures.

Half of the prompts choose the learning rate, guidance and temperature, the other half evaluates: nothing is chosen by
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
from kiloword.studies.budget import SIDE, EvaluationBudget
from kiloword.studies.jobs import with_card
from kiloword.studies.measure import distance_between
from kiloword.training.augmentation import shrink

# Axes: n pictures, S pixels a side.

SPACE = "gradients"  # feature space in which settings are chosen
NARROWEST = 0.1  # of the mean spread of features: none counts as narrower


@dataclass(frozen=True)
class EvaluationProtocol:
    """All pictures of a study, searchable, and indices of those to be drawn; `others` are further training pictures."""

    gallery: Gallery
    training: TrainingSet
    choosing: list[int]
    judging: dict[str, list[int]]
    others: UInt8[Tensor, "n 4 S S"]
    settings: EvaluationBudget
    seed: int

    @property
    def image_set(self) -> ImageSet:
        return self.gallery.image_set

    @property
    def judged(self) -> list[int]:
        """Indices of all pictures for evaluation, of every split."""
        return [index for indices in self.judging.values() for index in indices]

    @property
    def shown(self) -> list[int]:
        """Indices of the pictures on the sheet: the first of every split."""
        each = -(-self.settings.shown // max(1, len(self.judging)))
        return [index for indices in self.judging.values() for index in indices[:each]][: self.settings.shown]

    def prompts(self, painter: Painter, indices: Sequence[int]) -> list[str]:
        records = [self.image_set.metadata[index] for index in indices]
        return [painter.phrase(record["caption"], record["style"]) for record in records]

    def seeds(self, indices: Sequence[int]) -> list[int]:
        """One a picture, the same for all systems."""
        return [key_hash(self.seed, "draw/" + self.image_set.metadata[index]["key"]) for index in indices]

    def drawn(self, painter: Painter, indices: Sequence[int]) -> UInt8[Tensor, "n 4 S S"]:
        """A picture drawn for each, with the settings of the painter's card."""
        session = Session(painter, self.settings.batch)
        return session.drawn(self.prompts(painter, indices), self.seeds(indices))[0]

    def distance(self, drawn: UInt8[Tensor, "n 4 S S"], indices: Sequence[int], space: str = SPACE) -> dict[str, float]:
        """Kernel distance between drawn pictures and true ones, with its interval."""
        return asdict(distance_between(space, drawn, self.image_set.pixels[list(indices)], self.others, NARROWEST))


def protocol_for(pictures: Pictures, settings: EvaluationBudget, seed: int) -> EvaluationProtocol:
    """The protocol over a study's pictures. Raises ValueError if there are too few to choose and to evaluate."""
    batches = pictures.values[:].split(256)
    image_set = ImageSet(list(pictures.metadata), torch.cat([to_bytes(shrink(batch, SIDE)) for batch in batches]))
    styles = list(image_set.counts("style"))
    candidates = {split: image_set.choose(split, styles, settings.prompts, seed) for split in SPLITS}
    choosing = [index for indices in candidates.values() for index in indices[::2]]
    judging = {split: indices[1::2] for split, indices in candidates.items() if indices[1::2]}
    used = {index for indices in candidates.values() for index in indices}
    train = image_set.matching(split=SPLITS["train"])
    others = [index for index in train if index not in used] or train
    if min(len(choosing), sum(map(len, judging.values())), len(others)) < 2:
        raise ValueError(f"{len(image_set.metadata)} pictures are too few to choose by some and to evaluate by others")
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
    parts_of = slices_of(protocol.judging)
    gallery, judging = protocol.gallery, protocol.judging
    return {
        "chosen": best,
        "tried": tried,
        "kernel_distance": {space: protocol.distance(drawn, judged, space) for space in SPACES},
        "ceiling_distance": {space: protocol.distance(rebuilt, judged, space) for space in SPACES},
        "accuracy": {s: score(gallery.hits(judging[s], drawn[part])) for s, part in parts_of.items()},
        "ceiling": {s: score(gallery.hits(judging[s], rebuilt[part])) for s, part in parts_of.items()},
        "chance": {split: gallery.chance(indices) for split, indices in judging.items()},
        "memorisation": {
            s: memorisation(session, protocol.training, judging[s], drawn[part]) for s, part in parts_of.items()
        },
        "bits": bits(protocol, session),
        "tokens": session.layout.count,
        "parameters": parameters(painter),
    }


def attempts(protocol: EvaluationProtocol, painter: Painter, stage: str, report: Report) -> list[dict[str, float]]:
    """The kernel distance for every guidance with every temperature, with the prompts for choosing."""
    found, settings = [], list(product(protocol.settings.guidances, protocol.settings.temperatures))
    for number, (guidance, temperature) in enumerate(settings, start=1):
        drawn = protocol.drawn(with_card(painter, guidance=guidance, temperature=temperature), protocol.choosing)
        distance = protocol.distance(drawn, protocol.choosing)["value"]
        found.append({"guidance": guidance, "temperature": temperature, "kernel_distance": distance})
        report(f"settings tried, {stage}", number, len(settings), {})
    return found


def slices_of(judging: dict[str, list[int]]) -> dict[str, slice]:
    """The slice of each split among all pictures for evaluation."""
    found, start = {}, 0
    for split, indices in judging.items():
        found[split] = slice(start, start + len(indices))
        start += len(indices)
    return found


def bits(protocol: EvaluationProtocol, session: Session) -> dict[str, float] | None:
    """Mean bits of each split's tokens given their prompts; None for heads that have no density."""
    if not session.painter.model.picture.head.has_density:
        return None
    found = {}
    for split, indices in protocol.judging.items():
        prompts = protocol.prompts(session.painter, indices)
        found[split] = float(picture_bits(session, protocol.image_set.pixels[indices], prompts).mean())
    return found


def parameters(painter: Painter) -> dict[str, int]:
    """The number of parameters of each part of a model."""
    model = painter.model
    named = {
        "tokenizer": model.picture.tokenizer, "head": model.picture.head, "prompt": model.prompt,
        "transformer": model.transformer,
    }  # fmt: skip
    return {name: sum(p.numel() for p in part.parameters()) for name, part in named.items()}  # type: ignore[union-attr]
