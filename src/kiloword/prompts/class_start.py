"""Class labels at the picture's first position: LlamaGen (Sun et al. 2024); as modulation too, VAR (Tian et al.
2024)."""

from dataclasses import dataclass

import torch
from torch import nn

from kiloword.prompts.prompt import Condition, Prompt, class_ids


@dataclass(frozen=True)
class ClassStartConfig:
    """Classes 0 to `classes` - 1 and the null class behind them."""

    classes: int
    width: int

    def __post_init__(self):
        if self.classes < 1:
            raise ValueError(f"there must be at least one class, got {self.classes}")

    def build(self) -> "ClassStart":
        return ClassStart(self)


class ClassStart(Prompt, nn.Module):
    """Prompts are class numbers, or None. There is no prefix: the class embedding is the picture's start."""

    required = modulates = True

    def __init__(self, config: ClassStartConfig):
        super().__init__()
        self.config, self.width = config, config.width
        self.embedding = nn.Embedding(config.classes + 1, config.width)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def check(self, prompt: int) -> None:
        class_ids([prompt], self.config.classes)

    def read(self, prompts: list) -> Condition:
        ids = class_ids(prompts, self.config.classes).to(self.embedding.weight.device)
        vector = self.embedding(ids)
        prefix = vector.new_zeros(len(ids), 0, self.width)
        present = torch.ones(len(ids), 0, dtype=torch.bool, device=ids.device)
        return Condition(prefix, present, vector=vector, start=vector)

    def null(self, condition: Condition) -> Condition:
        return self.read([None] * len(condition.prefix))
