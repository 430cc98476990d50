"""Class labels as prompts: one learned row a class (Esser et al. 2021; LlamaGen, Sun et al. 2024)."""

from dataclasses import dataclass

import torch
from torch import nn

from kiloword.prompts.prompt import Condition


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


class ClassLabel(nn.Module):
    """Prompts are class numbers, or None."""

    def __init__(self, config: ClassLabelConfig):
        super().__init__()
        self.config, self.width = config, config.width
        self.embedding = nn.Embedding(config.classes + 1, config.width)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def read(self, prompts: list) -> Condition:
        for prompt in prompts:
            if prompt is not None and not (isinstance(prompt, int) and 0 <= prompt < self.config.classes):
                raise ValueError(f"class {prompt!r} is not a whole number from 0 to {self.config.classes - 1}")
        device = self.embedding.weight.device
        ids = torch.tensor([self.config.classes if p is None else p for p in prompts], device=device)
        prefix = self.embedding(ids)[:, None]
        return Condition(prefix, torch.ones(prefix.shape[:2], dtype=torch.bool, device=device))

    def null(self, condition: Condition) -> Condition:
        return self.read([None] * len(condition.prefix))
