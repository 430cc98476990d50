"""Class labels as prompts: one learned position a class (Esser et al. 2021; LlamaGen, Sun et al. 2024)."""

from dataclasses import dataclass

import torch
from torch import nn

from kiloword.prompts.prompt import Condition, Prompt, class_ids


@dataclass(frozen=True)
class ClassLabelConfig:
    """Classes 0 to `classes` - 1 and the null class behind them."""

    classes: int
    width: int

    def __post_init__(self):
        if self.classes < 1:
            raise ValueError(f"there must be at least one class, got {self.classes}")

    def build(self) -> "ClassLabel":
        return ClassLabel(self)


class ClassLabel(Prompt, nn.Module):
    """Prompts are class numbers, or None."""

    def __init__(self, config: ClassLabelConfig):
        super().__init__()
        self.config, self.width = config, config.width
        self.embedding = nn.Embedding(config.classes + 1, config.width)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def check(self, prompt: int) -> None:
        class_ids([prompt], self.config.classes)

    def read(self, prompts: list) -> Condition:
        device = self.embedding.weight.device
        prefix = self.embedding(class_ids(prompts, self.config.classes).to(device))[:, None]
        return Condition(prefix, torch.ones(prefix.shape[:2], dtype=torch.bool, device=device))

    def null(self, condition: Condition) -> Condition:
        return self.read([None] * len(condition.prefix))
