"""Multicode head: a small transformer over the codes of one token predicts them one after the other.

Ma et al. 2025 (UniTok, section 3.3, after the RQ-Transformer's depth transformer of Lee et al. 2022): its first
position is the token's hidden vector, the others are the codes sampled so far.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding

from kiloword.heads.code_entrance import ProjectedCodesConfig, SummedCodesConfig, offsets
from kiloword.heads.entrance import BareEntranceConfig, LearnedEntranceConfig, PositionEntranceConfig
from kiloword.heads.head import Head, Sampling, combine_views, log_prob_of_codes, loss_of_codes, sample_from
from kiloword.noise import Noise
from kiloword.tokens import Codes, Fed, Layout
from kiloword.transformer import StackConfig, Stream

# Axes: v views, b pictures, q tokens, w width, k codes of a token, c values of a code (padded), r = v b q sequences
# of t positions in the small transformer.


@dataclass(frozen=True)
class MulticodeHeadConfig:
    """`depth` is the small transformer, as wide as the large one; `codes` embeds a token that is fed.

    `positions`: how many position embeddings are learned (0: none), unless another `entrance` is named.
    """

    space: Codes
    width: int
    depth: StackConfig
    positions: int = 0
    entrance: BareEntranceConfig | PositionEntranceConfig | None = None
    codes: SummedCodesConfig | ProjectedCodesConfig = SummedCodesConfig()

    def __post_init__(self):
        if not isinstance(self.space, Codes):
            raise ValueError(f"the multicode head predicts Codes, got {self.space}")
        if self.depth.width != self.width:
            raise ValueError(
                f"the transformer over codes is {self.depth.width} wide, the head {self.width}: give both one width"
            )

    def build(self) -> "MulticodeHead":
        return MulticodeHead(self)


class MulticodeHead(Head, nn.Module):
    """log p(token) is the sum over codes of log p(code | hidden, codes before it); all codes share the output layer."""

    offsets: Tensor
    legal: Tensor
    has_density = True
    space: Codes

    def __init__(self, config: MulticodeHeadConfig):
        super().__init__()
        self.space, self.width, sizes = config.space, config.width, config.space.sizes
        self.codes = config.codes.build(config.space, config.width)
        self.entrance = (config.entrance or LearnedEntranceConfig(config.positions)).build(config.width)
        self.register_buffer("offsets", offsets(sizes[:-1]), persistent=False)
        legal = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        self.register_buffer("legal", legal, persistent=False)
        self.before = nn.Parameter(torch.empty(sum(sizes[:-1]), config.width))  # nothing follows the last code
        nn.init.normal_(self.before, std=0.5)
        self.depth = config.depth.build()
        self.output = nn.Linear(config.width, max(sizes))
        nn.init.normal_(self.output.weight, std=config.width**-0.5)
        nn.init.zeros_(self.output.bias)

    def enter(self, fed: Fed, layout: Layout) -> tuple[Float[Tensor, "b q w"], None]:
        return self.entrance(self.codes(fed.tokens), fed, layout), None

    def logits(self, hidden: Float[Tensor, "*b q w"], tokens: Int[Tensor, "b q k"]) -> Float[Tensor, "*b q k c"]:
        """Logits of every code given the true codes before it (teacher forcing)."""
        codes = embedding(tokens[..., :-1] + self.offsets, self.before)
        codes = codes.expand(*hidden.shape[:-1], *codes.shape[-2:])
        inputs = torch.cat([hidden.unsqueeze(-2), codes], dim=-2)
        logits = self.output(self.depth(causal(inputs.flatten(0, -3)))).float()
        return logits.masked_fill(~self.legal, -math.inf).view(*inputs.shape[:-1], -1)

    def loss(
        self, hidden: Float[Tensor, "b q w"], target: Int[Tensor, "b q k"], memo: None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        return loss_of_codes(self.logits(hidden, target), target)

    @torch.no_grad()
    def sample(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], memo: None, sampling: Sampling,
        noise: Noise, pictures: Int[Tensor, "b"],
    ) -> Int[Tensor, "b q k"]:  # fmt: skip
        """Guidance is applied code by code; all views continue with the same sampled code."""
        (v, b, q, _), sizes = hidden.shape, self.space.sizes
        uniform = noise.uniform((q, len(sizes)), pictures).to(hidden.device)
        cache, one = self.depth.cache(v * b * q, len(sizes)), torch.ones(v * b * q, dtype=torch.long)
        vector, tokens = rearrange(hidden, "v b q w -> (v b q) 1 w"), []
        for place, size in enumerate(sizes):
            logits = self.output(self.depth(Stream(vector, positions(vector, place)), cache))
            cache.advance(one)
            logits = rearrange(logits, "(v b q) 1 c -> v b q c", v=v, b=b)[..., :size].float()
            tokens.append(sample_from(combine_views(logits, weights), sampling, uniform[..., place]))
            if place + 1 < len(sizes):
                code = embedding(tokens[-1] + self.offsets[place], self.before)
                vector = rearrange(code.expand(v, -1, -1, -1), "v b q w -> (v b q) 1 w")
        return torch.stack(tokens, dim=-1)

    def log_prob(
        self, hidden: Float[Tensor, "v b q w"], weights: Float[Tensor, "v b"], tokens: Int[Tensor, "b q k"],
        sampling: Sampling,
    ) -> Float[Tensor, "b q"]:  # fmt: skip
        return log_prob_of_codes(self.logits(hidden, tokens), weights, tokens, self.space.sizes, sampling)


def positions(vectors: Float[Tensor, "r t w"], first: int = 0) -> Float[Tensor, "r t 4"]:
    """Positions whose time is the index of a code in its token, from `first` on."""
    positions = vectors.new_zeros(*vectors.shape[:2], 4)
    positions[..., 0] = torch.arange(first, first + vectors.shape[1], device=vectors.device)
    return positions


def causal(vectors: Float[Tensor, "r t w"]) -> Stream:
    """A stream with causal attention."""
    step = torch.arange(vectors.shape[1], device=vectors.device).expand(vectors.shape[:2])
    every, span = torch.ones_like(step, dtype=torch.bool), torch.zeros_like(step)
    return Stream(vectors, positions(vectors), span=span, step=step, causal=every, present=every)
