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

# Axes: b pictures, m positions of a text (_: of different lengths), c channels of the text encoder.


@dataclass(frozen=True)
class FeaturesConfig:
    """Prompts of at most `positions` positions of `channels` features each.

    `encoder` is the text encoder whose features these are, a folder or owner/name on the hub; it is not part of the
    model, and loaded with the first text. "": prompts can only be features.
    """

    channels: int
    width: int
    positions: int = 120
    encoder: str = ""

    def __post_init__(self):
        if self.channels < 1 or self.positions < 1:
            raise ValueError(
                f"features need at least one channel and position, got {self.channels} and {self.positions}"
            )

    def build(self) -> "Features":
        return Features(self)


class Features(Prompt, nn.Module):
    """Prompts are features [m, c]; a pair of features and a mask [m]; texts, which the encoder embeds; or None.

    They are a causal prefix without y and x; the last position predicts the picture's first token. The null condition
    has learned features, of the same length as the condition that it stands beside.
    """

    required = True

    def __init__(self, config: FeaturesConfig):
        super().__init__()
        self.config, self.width = config, config.width
        self.enter = nn.Linear(config.channels, config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.nothing = nn.Parameter(torch.randn(config.positions, config.channels) * config.channels**-0.5)
        self.encoder = TextEncoder(config.encoder, config.positions)
        for layer in (self.enter, self.out):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def read(self, prompts: list) -> Condition:
        texts = list(dict.fromkeys(prompt for prompt in prompts if isinstance(prompt, str)))
        encoded = dict(zip(texts, self.encoder.read(texts, self.nothing.device), strict=True)) if texts else {}
        return self._condition([self._features(encoded[p] if isinstance(p, str) else p) for p in prompts])

    def null(self, condition: Condition) -> Condition:
        counts = (condition.present.sum(1) + 1).tolist()
        return self._condition([self.nothing[-count:] for count in counts])

    def _features(self, prompt: Any) -> Float[Tensor, "m c"]:
        """The features that the mask keeps. Raises ValueError for features of another size, and for an empty mask."""
        features, mask = prompt if isinstance(prompt, tuple) else (prompt, None)
        if features is None:
            return self.nothing
        if not isinstance(features, Tensor):
            raise ValueError(f"a prompt is a text or features of an encoder, got {features!r}")
        most, channels = self.config.positions, self.config.channels
        if features.ndim != 2 or features.shape[1] != channels or not 1 <= len(features) <= most:
            raise ValueError(f"features have 1 to {most} positions of {channels} channels, got {list(features.shape)}")
        if mask is not None:
            if mask.shape != features.shape[:1] or not mask.any():
                raise ValueError(f"a mask says of each of {len(features)} positions whether it counts, and one has to")
            features = features[mask.bool()]
        return features.to(self.nothing)

    def _condition(self, texts: list[Float[Tensor, "_ c"]]) -> Condition:
        vectors = self.out(gelu(self.enter(pad_sequence(texts, batch_first=True)), approximate="tanh"))
        last = torch.tensor([len(text) - 1 for text in texts], device=vectors.device)
        start = vectors[torch.arange(len(texts), device=vectors.device), last]
        present = torch.arange(vectors.shape[1] - 1, device=vectors.device) < last[:, None]
        return Condition(vectors[:, :-1], present, start=start, causal=True, placed=False)
