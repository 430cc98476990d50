"""Text in the stream: the prompt's tokens stand before the picture's and are predicted as these are.

Ramesh et al. 2021 (DALL-E, section 2): 256 text tokens and 1,024 picture tokens, all of them predicted, so
that the model learns p(text, picture).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import pad

from kiloword.prompts.prompt import Condition, Prompt, TextEmbedder
from kiloword.tokenizers.bpe import END, BPEConfig
from kiloword.tokens import Fed, Layout

# Axes: b pictures, m tokens of a text, w width.


@dataclass(frozen=True)
class TextStreamConfig:
    """Prompts of exactly `limit` text tokens: shorter ones are padded, and the padding is predicted too."""

    text: BPEConfig
    limit: int = 64

    def __post_init__(self):
        if self.limit < 1:
            raise ValueError(f"the limit of a prompt must be at least 1 token, got {self.limit}")

    def build(self, embedder: TextEmbedder) -> "TextStream":
        """`embedder` is the head of the model's text."""
        return TextStream(self, embedder)


class TextStream(Prompt, nn.Module):
    """Prompts are texts; None is a text of padding alone.

    Position i is fed token i - 1 and predicts token i. The picture's first position is fed the text's last token: that
    is the condition's `start`.
    """

    device: Tensor
    required = predicted = True

    def __init__(self, config: TextStreamConfig, embedder: TextEmbedder):
        super().__init__()
        self.config, self.width = config, embedder.width
        self.text = config.text.build()
        self.embedders = (embedder,)  # in a tuple, for its weights are counted as those of the model's text
        self.register_buffer("device", torch.empty(0), persistent=False)

    def target(self, prompts: list) -> Int[Tensor, "b m"]:
        """The token that each position of the condition predicts."""
        limit = self.config.limit
        ids, _ = self.text.encode(["" if prompt is None else prompt for prompt in prompts], limit)
        return pad(ids, (0, limit - ids.shape[1]), value=END).to(self.device.device)

    def check(self, prompt: str) -> None:
        self.text.encode([prompt], self.config.limit)

    def read(self, prompts: list) -> Condition:
        ids = self.target(prompts)
        line = torch.arange(self.config.limit + 1, device=ids.device).expand(len(ids), -1)
        fed = Fed(pad(ids, (1, 0)), line > 0, torch.ones(line.shape, device=ids.device), line)
        vectors, _ = self.embedders[0].enter(fed, Layout(((1, line.shape[1]),)))
        prefix, start = vectors[:, :-1], vectors[:, -1]
        present = torch.ones(prefix.shape[:2], dtype=torch.bool, device=prefix.device)
        return Condition(prefix, present, start=start, causal=True)

    def null(self, condition: Condition) -> Condition:
        return self.read([None] * len(condition.prefix))
