"""How long trainings take beside each other: they take turns, so that a busy machine slows them alike.

Source: Kalibera and Jones 2013 (Rigorous Benchmarking in Reasonable Time) on repetition; medians are compared.
"""

import statistics
import time
from collections.abc import Sequence

import torch

from kiloword import parts
from kiloword.recipes.model_run import Pictures, fabric
from kiloword.recipes.tokenizer_run import lesson_of
from kiloword.recipes.tokenizers import TokenizerRecipe


def seconds_a_picture(recipes: Sequence[TokenizerRecipe], pictures: Pictures, rounds: int = 3) -> list[float]:
    """The median time of each recipe's steps, the first of which is not counted."""
    steps = [_Step(recipe, pictures) for recipe in recipes]
    times = [[step.take() for step in steps] for _ in range(rounds + 1)]
    medians = [statistics.median(own) for own in zip(*times[1:], strict=True)]
    return [time / recipe.training.batch for time, recipe in zip(medians, recipes, strict=True)]


class _Step:
    """One step of a training, again and again."""

    def __init__(self, recipe: TokenizerRecipe, pictures: Pictures):
        self.fabric = fabric()
        self.lesson = lesson_of(parts.build(recipe.tokenizer), recipe, pictures)
        module = self.fabric.to_device(self.lesson.module)
        self.rows = self.lesson.choose(0, recipe.training.batch)
        self.optimisers = recipe.training.optimiser.build(module)

    def take(self) -> float:
        started = time.perf_counter()
        with self.fabric.autocast():
            loss, _ = self.lesson.loss(self.rows)
        self.fabric.backward(loss)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        return time.perf_counter() - started
