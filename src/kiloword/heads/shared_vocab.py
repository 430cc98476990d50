"""Shared vocabulary of text and pictures; each position may predict ids of its own kind only.

Ramesh et al. 2021 (DALL-E, section 2.2 and figure 10): 16,384 text tokens, 256 paddings and 8,192 codes in one matrix.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from kiloword.heads.entrance import AxialEntranceConfig, BareEntranceConfig, PositionEntranceConfig
from kiloword.heads.head import Head, Sampling, combine_views, filter_logits, sample_from
from kiloword.noise import Noise
from kiloword.tokens import Categorical, Fed, Layout

# Axes: v views, b pictures or texts, q tokens, w width, k ids of one kind.


@dataclass(frozen=True)
class SharedVocabConfig:
    """Ids of `text`, then a padding id for each of the `limit` positions of a text, then ids of `picture`.

    Both modalities name the same config and share the module built of it. `pad` is the padding id in texts; `entrance`
    is that of pictures.
    """

    text: Categorical
    picture: Categorical
    width: int
    limit: int
    entrance: AxialEntranceConfig | BareEntranceConfig | PositionEntranceConfig
    pad: int = 0

    def __post_init__(self):
        if not isinstance(self.text, Categorical) or not isinstance(self.picture, Categorical):
            raise ValueError(f"a shared vocabulary predicts Categorical tokens, got {self.text} and {self.picture}")
        if self.limit < 1 or not 0 <= self.pad < self.text.size:
            raise ValueError(
                f"a text has at least 1 position and its padding is one of its {self.text.size} ids, "
                f"got {self.limit} positions and {self.pad}"
            )

    @property
    def first(self) -> int:
        """The vocabulary's first id of a picture."""
        return self.text.size + self.limit

    def build(self) -> "SharedVocabHead":
        return SharedVocabHead(self)


class SharedVocabHead(Head, nn.Module):
    """One embedding, one output projection. This is the head of pictures and owns both; `text` is the head of texts."""

    has_density = True

    def __init__(self, config: SharedVocabConfig):
        super().__init__()
        self.config, self.space, self.width = config, config.picture, config.width
        size = config.first + config.picture.size
        self.embedding = nn.Embedding(size, config.width)
        self.output = nn.Linear(config.width, size, bias=False)
        self.entrance = config.entrance.build(config.width)
        self.text_position = nn.Embedding(config.limit + 1, config.width)
        self.start = nn.Parameter(torch.empty(config.width))
        for parameter in (self.embedding.weight, self.text_position.weight, self.start):
            nn.init.normal_(parameter, std=0.02)
        nn.init.normal_(self.output.weight, std=config.width**-0.5)

    @property
    def text(self) -> "SharedVocabText":
        """The same vocabulary as texts see it."""
        return SharedVocabText(self)

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], None]:
        return self.entrance(self.embedding(fed.tokens + self.config.first), fed, layout), None

    def logits(self, hidden: Float[Tensor, "*b q w"], texts: bool = False) -> Float[Tensor, "*b q k"]:
        """Logits of the ids that are legal in pictures, or in `texts`; the others are not computed."""
        first = self.config.first
        return linear(hidden, self.output.weight[:first] if texts else self.output.weight[first:]).float()

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Int[Tensor, "b q"], memo: None = None, noise: Noise | None = None
    ) -> Float[Tensor, "b q"]:
        logits = self.logits(hidden)
        return cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)

    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: None, sampling: Sampling,
        noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Int[Tensor, "b q"]:  # fmt: skip
        logits = combine_views(self.logits(hidden), weights)
        return sample_from(logits, sampling, noise.uniform((hidden.shape[2],), pictures))

    def log_prob(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], tokens: Int[Tensor, "b q"],
        sampling: Sampling,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        logits = filter_logits(combine_views(self.logits(hidden), weights), sampling)
        return torch.log_softmax(logits, -1).gather(-1, tokens[..., None])[..., 0]


class SharedVocabText(Head):
    """The shared vocabulary as the head of texts: no module, for it owns nothing. The memo is the positions."""

    space: Categorical

    def __init__(self, shared: SharedVocabHead):
        self.shared, self.space, self.width = shared, shared.config.text, shared.width

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], Int[Tensor, "b q"]]:
        """Embeddings of tokens, each at the position after its own, and the positions. Raises ValueError for too long
        texts."""
        shared = self.shared
        if int(fed.index.max()) >= len(shared.text_position.weight):
            raise ValueError(f"this head has learned texts of {shared.config.limit} tokens: the text is too long")
        words = shared.embedding(self.placed(fed.tokens, (fed.index - 1).clamp(min=0)))
        return torch.where(fed.real[..., None], words, shared.start) + shared.text_position(fed.index), fed.index

    def placed(self, ids: Int[Tensor, "b q"], place: Int[Tensor, "b q"]) -> Int[Tensor, "b q"]:
        """Ids of the shared vocabulary: each padding becomes that of its position."""
        return torch.where(ids == self.shared.config.pad, self.space.size + place, ids)

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Int[Tensor, "b q"], memo: Int[Tensor, "b q"] | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        """`memo` None: whole texts, from the first position on."""
        place = torch.arange(target.shape[1], device=target.device).expand_as(target) if memo is None else memo
        ids, logits = self.placed(target, place), self.shared.logits(hidden, texts=True)
        return cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none").view(target.shape)

    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: Int[Tensor, "b q"] | None,
        sampling: Sampling, noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Int[Tensor, "b q"]:  # fmt: skip
        """One id for each position; whichever padding is sampled, it ends the text."""
        logits = combine_views(self.shared.logits(hidden, texts=True), weights)
        drawn = sample_from(logits, sampling, noise.uniform((hidden.shape[2],), pictures))
        return torch.where(drawn < self.space.size, drawn, self.shared.config.pad)
