"""Extended vocabulary: a language model's vocabulary with picture tokens appended.

Wu et al. 2024 (Liquid, section 3.1): 8,192 embeddings are appended to those of Gemma, Qwen or Llama.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from kiloword.heads.head import Head, Sampling, combine_views, filter_logits, sample_from
from kiloword.noise import Noise
from kiloword.tokens import Categorical, Fed, Layout

# Axes: v views, b pictures or texts, q tokens, w width, k ids of one kind, c ids of both.


@dataclass(frozen=True)
class ExtendedVocabConfig:
    """Ids of `text`, then ids of `picture`. Both modalities name the same config and share the module built of it.

    `tied` shares the weights of embedding and output; embeddings are multiplied by `gain` (Gemma's is the root of the
    width).
    """

    text: Categorical
    picture: Categorical
    width: int
    tied: bool = True
    gain: float = 1.0

    def __post_init__(self):
        if not isinstance(self.text, Categorical) or not isinstance(self.picture, Categorical):
            raise ValueError(f"an extended vocabulary predicts Categorical tokens, got {self.text} and {self.picture}")

    @property
    def first(self) -> int:
        """The vocabulary's first id of a picture."""
        return self.text.size

    def build(self) -> "ExtendedVocabHead":
        return ExtendedVocabHead(self)


class ExtendedVocabHead(Head, nn.Module):
    """One vocabulary. This is the head of pictures and owns the weights; `text` is the head of texts.

    Where nothing is fed the embedding is zero: the prompt's last position is added there.
    """

    has_density = True

    def __init__(self, config: ExtendedVocabConfig):
        super().__init__()
        self.config, self.space, self.width = config, config.picture, config.width
        size = config.first + config.picture.size
        self.embedding = nn.Embedding(size, config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5 if config.tied else 0.02)
        self.output = None if config.tied else nn.Linear(config.width, size, bias=False)
        if self.output is not None:
            nn.init.normal_(self.output.weight, std=config.width**-0.5)
        self.output_projection = OutputProjection()

    @property
    def text(self) -> "ExtendedVocabText":
        """The same vocabulary as texts see it."""
        return ExtendedVocabText(self)

    @property
    def matrix(self) -> Float[Tensor, "c w"]:
        """The weights of the output projection."""
        return self.embedding.weight if self.output is None else self.output.weight

    def vectors(self, ids: Int[Tensor, "b q"], fed: Fed) -> Float[Tensor, "b q w"]:
        """Embeddings of ids of the whole vocabulary, zeros where nothing is fed."""
        return torch.where(fed.real[..., None], self.embedding(ids) * self.config.gain, 0)

    def logits(self, hidden: Float[Tensor, "*b q w"], ids: slice = slice(None)) -> Float[Tensor, "*b q k"]:
        """Logits of a slice of the vocabulary; the others are not computed."""
        return self.output_projection(hidden, self.matrix[ids]).float()

    @property
    def pictures(self) -> slice:
        """The ids that are legal in pictures."""
        return slice(self.config.first, None)

    @property
    def words(self) -> slice:
        """The ids that are legal in texts."""
        return slice(0, self.config.first)

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], None]:
        return self.vectors(fed.tokens + self.config.first, fed), None

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Int[Tensor, "b q"], memo: None = None, noise: Noise | None = None
    ) -> Float[Tensor, "b q"]:
        """Cross-entropy over all ids, so that the model learns when to draw and when to write."""
        return self.cross_entropy(hidden, target + self.config.first)

    def cross_entropy(self, hidden: Float[Tensor, "b q w"], ids: Int[Tensor, "b q"]) -> Float[Tensor, "b q"]:
        """-log p of ids over the whole vocabulary, in nats."""
        logits = self.logits(hidden)
        return cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none").view(ids.shape)

    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: None, sampling: Sampling,
        noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Int[Tensor, "b q"]:  # fmt: skip
        logits = combine_views(self.logits(hidden, self.pictures), weights)
        return sample_from(logits, sampling, noise.uniform((hidden.shape[2],), pictures))

    def log_prob(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], tokens: Int[Tensor, "b q"],
        sampling: Sampling,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        """Over the ids of pictures only, as they are sampled."""
        logits = filter_logits(combine_views(self.logits(hidden, self.pictures), weights), sampling)
        return torch.log_softmax(logits, -1).gather(-1, tokens[..., None])[..., 0]


class OutputProjection(nn.Module):
    """The output projection without its weights, so that a hook can see what goes in."""

    def forward(self, hidden: Float[Tensor, "*b q w"], matrix: Float[Tensor, "k w"]) -> Float[Tensor, "*b q k"]:
        return linear(hidden, matrix)


class ExtendedVocabText(Head):
    """The extended vocabulary as the head of texts: no module, for it owns nothing."""

    def __init__(self, extended: ExtendedVocabHead):
        self.extended, self.space, self.width = extended, extended.config.text, extended.width

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], None]:
        return self.extended.vectors(fed.tokens, fed), None

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Int[Tensor, "b q"], memo: None = None, noise: Noise | None = None
    ) -> Float[Tensor, "b q"]:
        return self.extended.cross_entropy(hidden, target)

    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: None, sampling: Sampling,
        noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Int[Tensor, "b q"]:  # fmt: skip
        logits = combine_views(self.extended.logits(hidden, self.extended.words), weights)
        return sample_from(logits, sampling, noise.uniform((hidden.shape[2],), pictures))
