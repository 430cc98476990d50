"""Text as a prefix: the prompt's tokens stand before the picture and see each other (Raffel et al. 2019, prefix LM)."""

from dataclasses import dataclass

import torch
from torch import nn

from kiloword.prompts.prompt import Condition, Prompt
from kiloword.tokenizers.bpe import BPEConfig


@dataclass(frozen=True)
class TextPrefixConfig:
    """Prompts of at most `limit` text tokens."""

    text: BPEConfig
    width: int
    limit: int = 64
    dropout: float = 0.0

    def __post_init__(self):
        if self.limit < 1:
            raise ValueError(f"the limit of a prompt must be at least 1 token, got {self.limit}")

    def build(self) -> "TextPrefix":
        return TextPrefix(self)


class TextPrefix(Prompt, nn.Module):
    """Prompts are texts, or None; the null condition is one learned position."""

    def __init__(self, config: TextPrefixConfig):
        super().__init__()
        self.config, self.width = config, config.width
        self.text = config.text.build()
        self.embedding = nn.Embedding(self.text.space.size, config.width)
        self.nothing = nn.Parameter(torch.zeros(1, config.width))
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.nothing, std=0.02)

    def check(self, prompt: str) -> None:
        self.text.encode([prompt], self.config.limit)

    def read(self, prompts: list) -> Condition:
        ids, present = self.text.encode(["" if prompt is None else prompt for prompt in prompts], self.config.limit)
        ids, present = ids.to(self.embedding.weight.device), present.to(self.embedding.weight.device)
        prefix = self.dropout(self.embedding(ids))
        empty = torch.tensor([prompt is None for prompt in prompts], dtype=torch.bool, device=ids.device)
        prefix = torch.where(empty[:, None, None], self.nothing, prefix)
        present = torch.where(empty[:, None], torch.arange(ids.shape[1], device=ids.device) < 1, present)
        return Condition(prefix, present)

    def null(self, condition: Condition) -> Condition:
        return self.read([None] * len(condition.prefix))
