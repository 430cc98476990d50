"""Training a tokenizer and its critic (discriminator) at once, on the same pictures and in one step.

Goodfellow et al. 2014; Esser et al. 2021 (VQGAN) for reconstruction. The critic's weights are detached in the
tokenizer's loss, and the pictures in its own, so that the sum of the two is a step for each.
"""

from pathlib import Path

from torch import Tensor, nn

from kiloword.training.losses.adversarial import AdversarialConfig, adaptive_weight, hinge
from kiloword.training.tasks.tokenizer_task import TokenizerTask


class AdversarialTask:
    """A tokenizer's task with a critic of what it draws."""

    def __init__(self, task: TokenizerTask, config: AdversarialConfig):
        self.task, self.config = task, config
        self.critic = config.build(task.module.config.decoder.channels)
        self.module = nn.ModuleDict({"tokenizer": task.module, "critic": self.critic})

    def choose(self, iteration: int, count: int) -> Tensor:
        return self.task.choose(iteration, count)

    def loss(self, indices: Tensor, done: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        rebuilt = self.task.rebuild(indices, done)
        if done < self.config.start:
            return rebuilt.loss, rebuilt.figures
        unmasked = -self.critic.still(rebuilt.drawn).mean()
        share = adaptive_weight(rebuilt.error, unmasked, self.task.module.decoder.last_weight)
        critic = hinge(self.critic(rebuilt.true), self.critic(rebuilt.drawn.detach()))
        loss = rebuilt.loss + self.config.weight * share * unmasked + critic
        figures = {"critic": critic.detach(), "unmasked": unmasked.detach(), "adaptive_weight": share}
        return loss, {**rebuilt.figures, **figures}

    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        return self.task.look(folder, iteration)
