"""Features of a foreign text encoder before the picture: LlamaGen's text prompts (Sun et al. 2024, section 2.3).

The features come from an encoder that was trained apart (T5, Raffel et al. 2019), through a small network of our own.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.nn.utils.rnn import pad_sequence

from kiloword.prompts.prompt import Condition, Prompt
from kiloword.prompts.text_encoder import TextEncoder

# Axes: b pictures, m rows of a text (_: texts of different lengths), c channels of the foreign encoder.


@dataclass(frozen=True)
class FeaturesConfig:
    """Prompts of at most `rows` rows of so many `channels`.

    `encoder` is the text encoder that they are the features of, a folder or owner/name on the hub; it is not part of
    the model, and opened when the first text comes. "": texts are not read, only features.
    """

    channels: int
    width: int
    rows: int = 120
    encoder: str = ""

    def __post_init__(self):
        if self.channels < 1 or self.rows < 1:
            raise ValueError(f"features need at least one channel and one row, got {self.channels} and {self.rows}")

    def build(self) -> "Features":
        return Features(self)


class Features(Prompt, nn.Module):
    """Prompts are features [m, c]; features with a mask, a pair; texts, which the encoder reads; or None.

    The rows are causal and sit nowhere; the last one is the picture's own first row. The null condition has learned
    features, and as many rows as the condition that it stands beside.
    """

    required = True

    def __init__(self, config: FeaturesConfig):
        super().__init__()
        self.config, self.width = config, config.width
        self.enter = nn.Linear(config.channels, config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.nothing = nn.Parameter(torch.randn(config.rows, config.channels) * config.channels**-0.5)
        self.encoder = TextEncoder(config.encoder, config.rows)
        for layer in (self.enter, self.out):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def read(self, prompts: list) -> Condition:
        texts = list(dict.fromkeys(prompt for prompt in prompts if isinstance(prompt, str)))
        told = dict(zip(texts, self.encoder.read(texts, self.nothing.device), strict=True)) if texts else {}
        return self._condition([self._features(told[p] if isinstance(p, str) else p) for p in prompts])

    def null(self, condition: Condition) -> Condition:
        counts = (condition.present.sum(1) + 1).tolist()
        return self._condition([self.nothing[-count:] for count in counts])

    def _features(self, prompt: Any) -> Float[Tensor, "m c"]:
        """The rows that count. Raises ValueError for features of another size, and where none counts."""
        features, mask = prompt if isinstance(prompt, tuple) else (prompt, None)
        if features is None:
            return self.nothing
        if not isinstance(features, Tensor):
            raise ValueError(f"a prompt is a text or features of an encoder, got {features!r}")
        rows, channels = self.config.rows, self.config.channels
        if features.ndim != 2 or features.shape[1] != channels or not 1 <= len(features) <= rows:
            raise ValueError(f"features have 1 to {rows} rows of {channels} channels, got {list(features.shape)}")
        if mask is not None:
            if mask.shape != features.shape[:1] or not mask.any():
                raise ValueError(f"a mask says of each of {len(features)} rows whether it counts, and one has to")
            features = features[mask.bool()]
        return features.to(self.nothing)

    def _condition(self, texts: list[Float[Tensor, "_ c"]]) -> Condition:
        rows = self.out(gelu(self.enter(pad_sequence(texts, batch_first=True)), approximate="tanh"))
        last = torch.tensor([len(text) - 1 for text in texts], device=rows.device)
        start = rows[torch.arange(len(texts), device=rows.device), last]
        present = torch.arange(rows.shape[1] - 1, device=rows.device) < last[:, None]
        return Condition(rows[:, :-1], present, start=start, causal=True, placed=False)
