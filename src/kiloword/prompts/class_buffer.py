"""Class labels as a buffer: the class embedding repeated at many positions before the picture (Li et al. 2024, MAR)."""

from dataclasses import dataclass

import torch
from torch import nn

from kiloword.prompts.prompt import Condition, Prompt, class_ids


@dataclass(frozen=True)
class ClassBufferConfig:
    """Classes 0 to `classes` - 1, each repeated at `positions` positions."""

    classes: int
    width: int
    positions: int = 64

    def __post_init__(self):
        if self.classes < 1 or self.positions < 1:
            raise ValueError(
                f"there must be at least one class and one position, got {self.classes} and {self.positions}"
            )

    def build(self) -> "ClassBuffer":
        return ClassBuffer(self)


class ClassBuffer(Prompt, nn.Module):
    """Prompts are class numbers, or None, which has a learned vector of its own."""

    def __init__(self, config: ClassBufferConfig):
        super().__init__()
        self.config, self.width = config, config.width
        self.embedding = nn.Embedding(config.classes, config.width)
        self.nothing = nn.Parameter(torch.empty(1, config.width))
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.nothing, std=0.02)

    def check(self, prompt: int) -> None:
        class_ids([prompt], self.config.classes)

    def read(self, prompts: list) -> Condition:
        ids = class_ids(prompts, self.config.classes).to(self.embedding.weight.device)
        vector = torch.cat([self.embedding.weight, self.nothing])[ids]
        prefix = vector[:, None].expand(-1, self.config.positions, -1)
        return Condition(prefix, torch.ones(prefix.shape[:2], dtype=torch.bool, device=ids.device))

    def null(self, condition: Condition) -> Condition:
        return self.read([None] * len(condition.prefix))
