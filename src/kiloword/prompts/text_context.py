"""Text as context for cross-attention: features of any length, and one vector that they are pooled into.

Han et al. 2024 (Infinity: Scaling Bitwise AutoRegressive Modeling), with features of a foreign encoder, T5 (Raffel et
al. 2019).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.nn.utils.rnn import pad_sequence

from kiloword.prompts.prompt import Condition, Prompt
from kiloword.prompts.text_encoder import TextEncoder
from kiloword.transformer import Context, KeyValues, RMSNormConfig, attend

# Axes: b pictures, m positions of a text (_: of different lengths), c channels of the text encoder, w width.


@dataclass(frozen=True)
class TextContextConfig:
    """Prompts of at most `positions` positions of `channels` features each, pooled by attention with `heads` heads.

    `encoder` is the text encoder whose features these are, a folder or owner/name on the hub; it is not part of the
    model, and loaded with the first text. "": prompts can only be features.
    """

    channels: int
    width: int
    heads: int
    positions: int = 512
    encoder: str = ""
    eps: float = 1e-6

    def __post_init__(self):
        if self.channels < 1 or self.positions < 1:
            raise ValueError(
                f"features need at least one channel and position, got {self.channels} and {self.positions}"
            )
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")

    def build(self) -> "TextContext":
        return TextContext(self)


class TextContext(Prompt, nn.Module):
    """Prompts are features [m, c]; a pair of features and a mask [m]; texts, which the encoder embeds; or None.

    The pooled vector is the picture's start and modulates the blocks. The null condition has learned features, of the
    same length as the condition that it stands beside.
    """

    required = modulates = True

    def __init__(self, config: TextContextConfig):
        super().__init__()
        self.config, self.width, self.context_positions = config, config.width, config.positions
        self.norm = RMSNormConfig(config.eps).build(config.channels)
        self.pool = Pool(config.channels, config.width, config.heads)
        self.enter = nn.Linear(config.channels, config.width)
        self.out = nn.Linear(config.width, config.width)
        self.nothing = nn.Parameter(torch.randn(config.positions, config.channels) * config.channels**-0.5)
        self.encoder = TextEncoder(config.encoder, config.positions + 1, str)  # one more, to see what is too long
        for layer in (self.enter, self.out):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)

    def read(self, prompts: list) -> Condition:
        texts = list(dict.fromkeys(prompt for prompt in prompts if isinstance(prompt, str)))
        encoded = dict(zip(texts, self.encoder.read(texts, self.nothing.device), strict=True)) if texts else {}
        return self._condition([self._features(encoded[p] if isinstance(p, str) else p) for p in prompts])

    def null(self, condition: Condition) -> Condition:
        assert condition.context is not None
        return self._condition([self.nothing[:count] for count in condition.context.present.sum(1).tolist()])

    def _features(self, prompt: Any) -> Float[Tensor, "m c"]:
        """The features that the mask keeps. Raises ValueError for too many, for another size, and for an empty mask."""
        features, mask = prompt if isinstance(prompt, tuple) else (prompt, None)
        if features is None:
            return self.nothing
        if not isinstance(features, Tensor):
            raise ValueError(f"a prompt is a text or features of an encoder, got {features!r}")
        most, channels = self.config.positions, self.config.channels
        if features.ndim != 2 or features.shape[1] != channels or not len(features):
            raise ValueError(f"features have 1 to {most} positions of {channels} channels, got {list(features.shape)}")
        if mask is not None:
            if mask.shape != features.shape[:1] or not mask.any():
                raise ValueError(f"a mask says of each of {len(features)} positions whether it counts, and one has to")
            features = features[mask.bool()]
        if len(features) > most:
            found = f"{len(features)} positions or more"
            raise ValueError(f"the prompt has {found}, the context holds {most}: say it in fewer words")
        return features.to(self.nothing)

    def _condition(self, texts: list[Float[Tensor, "_ c"]]) -> Condition:
        features = self.norm(pad_sequence(texts, batch_first=True))
        lengths = torch.tensor([len(text) for text in texts], device=features.device)
        present = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
        vector = self.pool(features, present)
        vectors = self.out(gelu(self.enter(features), approximate="tanh"))
        none = present[:, :0]
        return Condition(vectors[:, :0], none, vector, start=vector, context=Context(vectors, present))


class Pool(nn.Module):
    """Attention pooling: one learned query attends to all positions of a text."""

    def __init__(self, channels: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(width) * (heads / width) ** 0.5)
        self.key_values = KeyValues(channels, width)
        self.out = nn.Linear(width, width)
        nn.init.normal_(self.out.weight, std=width**-0.5)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Float[Tensor, "b m c"], present: Bool[Tensor, "b m"]) -> Float[Tensor, "b w"]:
        query = self.query.expand(len(features), 1, -1)
        return self.out(attend(query, self.key_values(features), present[:, None], self.heads))[:, 0]
