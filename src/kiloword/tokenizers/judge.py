"""A judge of pictures: a text encoder and an encoder of picture tokens, trained contrastively.

Radford et al. 2021 (CLIP), by which DALL-E's samples were ranked: the best of 512 (Ramesh et al. 2021, section 2.6).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokenizers.contrastive import TextTowerConfig
from kiloword.tokens import Categorical, Codes, Layout
from kiloword.transformer import StackConfig, Stream

# Axes: b pictures, a texts, n tokens of a picture, f factors of a token, e dimensions of the common space.


@dataclass(frozen=True)
class JudgeConfig:
    """Texts of at most `limit` tokens, pictures of at most `positions`; both become vectors of `dim` numbers."""

    words: BPEConfig
    text: StackConfig
    space: Categorical | Codes
    picture: StackConfig
    positions: int
    limit: int = 64
    dim: int = 64

    def build(self) -> "ContrastiveJudge":
        return ContrastiveJudge(self)


class ContrastiveJudge(nn.Module):
    """Scores how well pictures fit texts: a `Judge` of what has been drawn."""

    offsets: Tensor

    def __init__(self, config: JudgeConfig):
        super().__init__()
        self.config, width = config, config.picture.width
        self.words = config.words.build()
        self.close = self.words.space.size  # the largest id: it ends a text
        self.text = TextTowerConfig(config.text, self.close + 1, config.limit + 1).build(config.dim)
        sizes = config.space.sizes if isinstance(config.space, Codes) else (config.space.size,)
        offsets = torch.tensor([sum(sizes[:factor]) for factor in range(len(sizes))])
        self.register_buffer("offsets", offsets, persistent=False)
        self.enter = nn.Embedding(sum(sizes), width)
        self.position = nn.Embedding(config.positions, width)
        for table in (self.enter, self.position):
            nn.init.normal_(table.weight, std=0.02)
        self.stack = config.picture.build()
        self.leave = nn.Linear(width, config.dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def text_vectors(self, texts: list[str]) -> Float[Tensor, "a e"]:
        """Vectors of length 1 of texts."""
        ids, present = self.words.encode(texts, self.config.limit)
        ids = pad(torch.where(present, ids, self.close), (0, 1), value=self.close)
        return normalize(self.text(ids.to(self.offsets.device)), dim=-1)

    def picture_vectors(self, tokens: Int[Tensor, "b n"] | Int[Tensor, "b n f"]) -> Float[Tensor, "b e"]:
        """Vectors of length 1 of pictures: the mean over their tokens, with full attention between them."""
        factors = tokens if tokens.ndim == 3 else tokens[..., None]
        if tokens.shape[1] > self.config.positions:
            raise ValueError(
                f"the picture has {tokens.shape[1]} tokens, this judge has learned {self.config.positions}"
            )
        vectors = self.enter(factors + self.offsets).sum(2) + self.position.weight[: tokens.shape[1]]
        hidden = self.stack(Stream(vectors, vectors.new_zeros(*vectors.shape[:2], 4)))
        return normalize(self.leave(hidden.mean(1)), dim=-1)

    def similarity(self, tokens: Tensor, texts: list[str]) -> Float[Tensor, "b a"]:
        """How well each text fits each picture: logits, at most 100 as in CLIP."""
        scale = self.log_scale.clamp(max=math.log(100)).exp()
        return scale * self.picture_vectors(tokens) @ self.text_vectors(texts).T

    @torch.no_grad()
    def forward(self, tokens: Tensor, layout: Layout, texts: list[list[str]]) -> Float[Tensor, "b"]:
        """How well each picture fits its texts: log-sum-exp over several wordings of what it should show."""
        scale, pictures = self.log_scale.clamp(max=math.log(100)).exp(), self.picture_vectors(tokens)
        fits = [scale * (pictures * self.text_vectors(list(wording))).sum(-1) for wording in zip(*texts, strict=True)]
        return torch.stack(fits).logsumexp(0)
