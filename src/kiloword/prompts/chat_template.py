"""Chat template: what a language model is told before it draws, and round a picture that it is shown.

Wu et al. 2024 (Liquid): begin, text, a phrase that asks for a picture, open; after a picture close, and a phrase that
asks for its caption.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kiloword.prompts.prompt import Condition, TextEmbedder
from kiloword.tokens import Fed, Layout
from kiloword.tokens.words import Words

# Axes: b pictures, m tokens of a text, w width.


@dataclass(frozen=True)
class ChatTemplateConfig:
    """Ids of special words: `begin` starts all (None: nothing does), `open` and `close` stand round pictures, `nothing`
    stands for a text that is left out. `request` ends prompts, `cue` stands between a picture and its caption.

    Prompts have at most `limit` tokens, their request included.
    """

    open: int
    close: int
    nothing: int
    begin: int | None = None
    request: str = " Generate an image based on this description."
    cue: str = "The caption of this image is:"
    limit: int = 512

    def __post_init__(self):
        if self.limit < 1:
            raise ValueError(f"the limit of a prompt must be at least 1 token, got {self.limit}")

    def build(self, embedder: TextEmbedder, words: Words) -> "ChatTemplate":
        """`embedder` is the entrance of the model's text, `words` its tokenizer."""
        return ChatTemplate(self, embedder, words)


class ChatTemplate(nn.Module):
    """Prompts are texts; the ids of a whole prompt, from `begin` to `open`, as a vector; or None.

    Rows are causal. The last one, `open`, predicts the picture's first token and so is the picture's first row.
    """

    device: Tensor

    def __init__(self, config: ChatTemplateConfig, embedder: TextEmbedder, words: Words):
        super().__init__()
        self.config, self.width, self.words = config, embedder.width, words
        self.embedders = (embedder,)  # in a tuple, for its weights are counted as those of the model's text
        self.register_buffer("device", torch.empty(0), persistent=False)

    def ids(self, prompt: Any) -> list[int]:
        """A whole prompt. Raises ValueError for what is none."""
        config = self.config
        if isinstance(prompt, Tensor):
            ids = prompt.tolist()
            if prompt.ndim != 1 or prompt.is_floating_point() or not ids:
                raise ValueError(f"a prompt of ids is a vector of whole numbers, got {list(prompt.shape)}")
            return ids
        if prompt is None:
            return [*self._begin(), config.nothing, config.open]
        return [*self._begin(), *self._encoded(prompt + config.request), config.open]

    def read(self, prompts: list) -> Condition:
        return self._condition([self.ids(prompt) for prompt in prompts])

    def null(self, condition: Condition) -> Condition:
        return self.read([None] * len(condition.prefix))

    def frame(self, count: int) -> tuple[Condition, Condition]:
        """What stands before each of `count` pictures that are looked at, and what stands behind."""
        config = self.config
        before, after = [*self._begin(), config.open], [config.close, *self._encoded(config.cue)]
        return self._condition([before] * count, started=False), self._condition([after] * count)

    def _begin(self) -> list[int]:
        return [] if self.config.begin is None else [self.config.begin]

    def _encoded(self, text: str) -> list[int]:
        ids, present = self.words.encode([text], self.config.limit)
        return ids[present].tolist()

    def _condition(self, texts: list[list[int]], started: bool = True) -> Condition:
        """Rows of texts, the last of each as the first of what follows if that is to be `started`."""
        device = self.device.device
        counts = torch.tensor([len(text) for text in texts], device=device)
        longest = int(counts.max())
        ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts], device=device)
        place = torch.arange(longest, device=device).expand_as(ids)
        fed = Fed(ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros(ids.shape, device=device), place)
        rows, _ = self.embedders[0].enter(fed, Layout(((1, longest),)))
        if not started:
            return Condition(rows, place < counts[:, None], causal=True)
        start = rows[torch.arange(len(texts), device=device), counts - 1]
        return Condition(rows[:, :-1], place[:, :-1] < counts[:, None] - 1, start=start, causal=True)
