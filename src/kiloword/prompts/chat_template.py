"""Chat template: the special tokens and phrases around a language model's prompts and pictures.

Wu et al. 2024 (Liquid): begin, text, a phrase that asks for a picture, open; after a picture close, and a phrase that
asks for its caption.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kiloword.prompts.prompt import Condition, Prompt, TextEmbedder
from kiloword.tokens import Document, Fed, Layout, Picture, Prompted, Segment, Text
from kiloword.tokens.words import Words

# Axes: b pictures, m tokens of a text, w width.


@dataclass(frozen=True)
class ChatTemplateConfig:
    """Ids of special tokens: `begin` starts all (None: nothing does), `open` and `close` stand round pictures,
    `nothing` stands for the null prompt. `request` ends prompts, `cue` stands between a picture and its caption.

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
        """`embedder` is the head of the model's text, `words` its tokenizer."""
        return ChatTemplate(self, embedder, words)


class ChatTemplate(Prompt, nn.Module):
    """Prompts are texts; the ids of a whole prompt, from `begin` to `open`, as a vector; or None.

    The prefix is causal. Its last token, `open`, predicts the picture's first token and so is the picture's start.
    """

    device: Tensor
    required = True

    def __init__(self, config: ChatTemplateConfig, embedder: TextEmbedder, words: Words):
        super().__init__()
        self.config, self.width, self.words = config, embedder.width, words
        self.embedders = (embedder,)  # in a tuple, for its weights are counted as those of the model's text
        self.register_buffer("device", torch.empty(0), persistent=False)

    def ids(self, prompt: Any) -> list[int]:
        """The ids of a whole prompt, from `begin` to `open`. Raises ValueError for ids that are no vector of
        integers."""
        config = self.config
        if isinstance(prompt, Tensor):
            ids = prompt.tolist()
            if prompt.ndim != 1 or prompt.is_floating_point() or not ids:
                raise ValueError(f"a prompt of ids is a vector of whole numbers, got {list(prompt.shape)}")
            return ids
        if prompt is None:
            return [*self._begin(), config.nothing, config.open]
        return [*self._begin(), *self._text(prompt, True), config.open]

    def check(self, prompt: Any) -> None:
        self.ids(prompt)

    def read(self, prompts: list) -> Condition:
        return self._condition([self.ids(prompt) for prompt in prompts])

    def null(self, condition: Condition) -> Condition:
        return self.read([None] * len(condition.prefix))

    def script(self, document: Document) -> list[Segment | Prompted]:
        """The special tokens stand around pictures; a text that follows a picture at once is asked for by the cue. Ids
        that are given as a text are a whole prompt, with all that stands before its picture."""
        config, laid, ids = self.config, list[Segment | Prompted](), self._begin()
        for before, segment, after in zip([None, *document], document, [*document[1:], None], strict=False):
            if isinstance(segment, Text) and not segment.predict:
                draws = isinstance(after, Picture) and after.predict
                ids = self.ids(segment.words) if self._whole(segment) else ids + self._text(segment.words, draws)
                continue
            if isinstance(segment, Picture):
                ids = ids if self._whole(before) else [*ids, config.open]
            elif isinstance(before, Picture):
                ids = ids + self._encoded(config.cue)
            laid += [*self._prompted(ids), segment]
            ids = [config.close] if isinstance(segment, Picture) and not segment.predict else []
        return laid if ids == [config.close] else [*laid, *self._prompted(ids)]

    def _whole(self, segment: Segment | None) -> bool:
        """Whether a text is the ids of a whole prompt."""
        return isinstance(segment, Text) and isinstance(segment.words, Tensor)

    def _prompted(self, ids: list[int]) -> list[Segment | Prompted]:
        return [Prompted(torch.tensor(ids))] if ids else []

    def _text(self, prompt: Any, draws: bool) -> list[int]:
        """The ids of a text, with the phrase that asks for a picture if it `draws`."""
        if prompt is None:
            return [self.config.nothing]
        return self._encoded(prompt + self.config.request if draws else prompt)

    def _begin(self) -> list[int]:
        return [] if self.config.begin is None else [self.config.begin]

    def _encoded(self, text: str) -> list[int]:
        ids, present = self.words.encode([text], self.config.limit)
        return ids[present].tolist()

    def _condition(self, texts: list[list[int]]) -> Condition:
        """The condition of texts: all tokens but the last as a prefix, the last one as the start."""
        device = self.device.device
        counts = torch.tensor([len(text) for text in texts], device=device)
        longest = int(counts.max())
        ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts], device=device)
        place = torch.arange(longest, device=device).expand_as(ids)
        fed = Fed(ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros(ids.shape, device=device), place)
        vectors, _ = self.embedders[0].enter(fed, Layout(((1, longest),)))
        start = vectors[torch.arange(len(texts), device=device), counts - 1]
        return Condition(vectors[:, :-1], place[:, :-1] < counts[:, None] - 1, start=start, causal=True)
