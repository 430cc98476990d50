"""A tokenizer with a text encoder beside it: its tokens are trained to match the captions of the pictures.

Radford et al. 2021 (CLIP) for the text encoder and the loss; on the decoder's features, as Ma et al. 2025 (UniTok).
"""

import math
from dataclasses import dataclass

import torch
from einops import reduce
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from kiloword.noise import Noise
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.quantizer import Multiscale, Quantized
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import Layout
from kiloword.transformer import LayerNormConfig, StackConfig, Stream

# Axes: b pictures, n tokens, k latent channels, h w grid, c H W pixels, i channels of features,
# a texts, t ids of a text, e dimensions of the common space.


@dataclass(frozen=True)
class TextTowerConfig:
    """Texts of at most `context` ids in [0, `vocabulary`); the largest id ends a text."""

    stack: StackConfig
    vocabulary: int = 49408
    context: int = 77

    def __post_init__(self):
        if min(self.vocabulary, self.context) < 1:
            raise ValueError(f"vocabulary and context are at least 1, got {self.vocabulary} and {self.context}")

    def build(self, dim: int) -> "TextTower":
        return TextTower(self, dim)


class TextTower(nn.Module):
    """Ids of a text to one vector: a causal transformer's hidden vector at the id that ends the text."""

    def __init__(self, config: TextTowerConfig, dim: int):
        super().__init__()
        self.config = config
        width = config.stack.width
        self.enter = nn.Embedding(config.vocabulary, width)
        nn.init.normal_(self.enter.weight, std=0.02)
        self.positions = nn.Parameter(torch.randn(config.context, width) * 0.01)
        self.stack = config.stack.build()
        self.leave = nn.Linear(width, dim, bias=False)

    def forward(self, ids: Int[Tensor, "a t"]) -> Float[Tensor, "a e"]:
        """Ids behind the largest one of a text have no effect. Raises ValueError for ids and lengths out of range."""
        (a, t), config = ids.shape, self.config
        if not 0 < t <= config.context:
            raise ValueError(f"texts have 1 to {config.context} ids, got {t}")
        if int(ids.min()) < 0 or int(ids.max()) >= config.vocabulary:
            raise ValueError(f"ids are in [0, {config.vocabulary}), got {int(ids.min())} to {int(ids.max())}")
        steps = torch.arange(t, device=ids.device).expand(a, -1)
        vectors = self.enter(ids) + self.positions[:t]
        one, causal = torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool)
        hidden = self.stack(Stream(vectors, vectors.new_zeros(a, t, 4), span=one, step=steps, causal=causal))
        return self.leave(hidden[torch.arange(a, device=ids.device), ids.argmax(-1)])


@dataclass(frozen=True)
class ContrastiveConfig:
    """A tokenizer and a text encoder; both give vectors of `dim` numbers."""

    tokenizer: AutoencoderConfig
    text: TextTowerConfig
    dim: int = 768

    def build(self) -> "Contrastive":
        return Contrastive(self)


class Contrastive(nn.Module, Tokenizer):
    """The tokenizer inside, and logits of how well texts fit pictures."""

    def __init__(self, config: ContrastiveConfig):
        super().__init__()
        self.config = config
        self.tokenizer = config.tokenizer.build()
        self.text = config.text.build(config.dim)
        if not self.tokenizer.decoder.feature_width:
            raise ValueError(
                f"{type(self.tokenizer.decoder).__name__} has no features to compare with texts: "
                "put a factorisation around the networks"
            )
        width = self.tokenizer.decoder.feature_width
        self.norm = LayerNormConfig().build(width)
        self.leave = nn.Linear(width, config.dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def space(self):
        return self.tokenizer.space

    @property
    def stride(self) -> int:
        """Pixels a side that one token covers."""
        return self.tokenizer.stride

    @property
    def channels(self) -> int:
        """Channels of its pictures: 4 (RGBA) or 3 (RGB)."""
        return self.tokenizer.channels

    @property
    def groups(self) -> int:
        return self.tokenizer.groups

    @property
    def flips(self) -> bool:
        return self.tokenizer.flips

    @property
    def multiscale(self) -> Multiscale | None:
        return self.tokenizer.multiscale

    def layout(self, height: int, width: int) -> Layout:
        return self.tokenizer.layout(height, width)

    def encode(self, pixels: Float[Tensor, "b c H W"], layout: Layout, noise: Noise | None = None) -> Quantized:
        return self.tokenizer.encode(pixels, layout, noise)

    def decode(self, tokens: Tensor, layout: Layout, known: Bool[Tensor, "b n"]) -> Float[Tensor, "b c H W"]:
        return self.tokenizer.decode(tokens, layout, known)

    def picture_vectors(self, latent: Float[Tensor, "b k h w"], layout: Layout) -> Float[Tensor, "b e"]:
        """Vectors of length 1 of quantized pictures: the mean of the decoder's features."""
        mean = reduce(self.tokenizer.decoder.features(latent, layout), "b i h w -> b i", "mean")
        return normalize(self.leave(self.norm(mean)), dim=-1)

    def text_vectors(self, ids: Int[Tensor, "a t"]) -> Float[Tensor, "a e"]:
        """Vectors of length 1 of texts."""
        return normalize(self.text(ids), dim=-1)

    def similarity(
        self, latent: Float[Tensor, "b k h w"], layout: Layout, ids: Int[Tensor, "a t"]
    ) -> Float[Tensor, "b a"]:
        """How well each text fits each quantized picture: logits."""
        return self.log_scale.exp() * self.picture_vectors(latent, layout) @ self.text_vectors(ids).t()


def contrastive_loss(similarity: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    """Picture i belongs to text i: the mean of the cross-entropies of finding the text and of finding the picture."""
    pairs = torch.arange(len(similarity), device=similarity.device)
    return (cross_entropy(similarity, pairs) + cross_entropy(similarity.t(), pairs)) / 2
