"""Teaching a tokenizer and its critic at once: both learn from the same pictures, in one step.

Goodfellow et al. 2014; Esser et al. 2021 (VQGAN) for reconstruction. The critic stands still in the tokenizer's loss
and sees pictures without their gradient in its own, so that a sum of the two is a step for each.
"""

from pathlib import Path

from torch import Tensor, nn

from kiloword.training.losses.adversarial import AdversarialConfig, adaptive_weight, hinge
from kiloword.training.tokenizer_lesson import TokenizerLesson


class AdversarialLesson:
    """A tokenizer's lesson with a critic of what it draws."""

    def __init__(self, lesson: TokenizerLesson, config: AdversarialConfig):
        self.lesson, self.config, self.iteration = lesson, config, 0
        self.critic = config.build(lesson.module.config.decoder.channels)
        self.module = nn.ModuleDict({"tokenizer": lesson.module, "critic": self.critic})

    def choose(self, iteration: int, count: int) -> Tensor:
        self.iteration = iteration
        return self.lesson.choose(iteration, count)

    def loss(self, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        rebuilt = self.lesson.rebuild(rows)
        if self.iteration < self.config.start:
            return rebuilt.loss, rebuilt.figures
        unmasked = -self.critic.still(rebuilt.drawn).mean()
        share = adaptive_weight(rebuilt.error, unmasked, self.lesson.module.decoder.last_weight)
        critic = hinge(self.critic(rebuilt.true), self.critic(rebuilt.drawn.detach()))
        loss = rebuilt.loss + self.config.weight * share * unmasked + critic
        figures = {"critic": critic.detach(), "unmasked": unmasked.detach(), "adaptive_weight": share}
        return loss, {**rebuilt.figures, **figures}

    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        return self.lesson.look(folder, iteration)
