"""Budgets of the studies of models: pictures, training and evaluation.

Equal tuning is a part of the budget: Musgrave et al. 2020 (A Metric Learning Reality Check); Lucic et al. 2018 (Are
GANs Created Equal?), who compare at equal budgets of search.
"""

from dataclasses import dataclass, fields
from typing import Any

from kiloword.data.emoji.wording import PHRASES

SIDE = 64  # pixels of a picture: the positions of its 8x8 tokens are learned


@dataclass(frozen=True)
class DataBudget:
    """At most so many training `pictures`, each in so many random `versions`; so many `held_out`; no `styles`: all.

    `seen` counts the pictures that each tokenizer is trained on with repetitions, `vocabulary` the text tokens.
    """

    pictures: int = 1600
    held_out: int = 512
    styles: tuple[str, ...] = ("flat",)
    versions: int = 4
    seen: int = 44_800
    vocabulary: int = 2048

    def __post_init__(self):
        above_zero(self, "pictures", "held_out", "versions", "seen")
        if self.vocabulary < 300:
            raise ValueError(f"vocabulary starts at 300, got {self.vocabulary}")
        for style in self.styles:
            if style not in PHRASES:
                raise ValueError(f"there is no style {style!r} (there are {', '.join(PHRASES)})")


@dataclass(frozen=True)
class TrainingBudget:
    """`minutes` of training at each of the learning `rates`; the `best` systems again with every seed below `seeds`."""

    minutes: float = 25.0
    batch: int = 48
    rates: tuple[float, ...] = (1e-3, 2.5e-3)
    best: int = 2
    seeds: int = 2
    average: float = 0.995
    save_every: int = 100

    def __post_init__(self):
        above_zero(self, "minutes", "batch", "seeds", "save_every")
        if not self.rates or min(self.rates) <= 0:
            raise ValueError(f"rates are above 0, got {self.rates}")
        if len(set(self.rates)) < len(self.rates):
            raise ValueError(f"rates are different ones, got {self.rates}")
        if self.best < 0:
            raise ValueError(f"best is 0 or more, got {self.best}")


@dataclass(frozen=True)
class EvaluationBudget:
    """At most so many `prompts` of each split: half for choosing settings, half for evaluation.

    Every model draws with each of the `guidances` and `temperatures`.
    """

    prompts: int = 256
    guidances: tuple[float, ...] = (1.5, 3.0)
    temperatures: tuple[float, ...] = (0.7, 1.0)
    batch: int = 50
    shown: int = 16  # pictures on the sheet
    rounds: int = 3  # of timing

    def __post_init__(self):
        above_zero(self, "batch", "shown", "rounds")
        if self.prompts < 4:
            raise ValueError(f"prompts start at 4, as two are to choose by and two to judge by, got {self.prompts}")
        if not self.guidances or not self.temperatures or min(self.temperatures) <= 0:
            raise ValueError(f"there is a guidance, and a temperature above 0: {self}")


def above_zero(config: Any, *names: str) -> None:
    """Raise ValueError if one of these fields is not."""
    assert set(names) <= {field.name for field in fields(config)}
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} is above 0, got {getattr(config, name)}")
