"""Image GPT's drawing rewritten plainly: the blocks of its port, keys and values kept by concatenation.

Chen et al. 2020 (Generative Pretraining from Pixels); github.com/openai/image-gpt and its port in transformers.
OpenAI's own loop has no cache and computes all pixels again for each: this one is faster. Weights have the port's
names.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(torch.mean(torch.square(x), dim=-1, keepdim=True) + self.eps) * self.weight


class Conv1D(nn.Module):
    """A matrix that is stored the other way round."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inside, outside) * inside**-0.5)
        self.bias = nn.Parameter(torch.zeros(outside))

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], -1)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = Conv1D(width, 3 * width), Conv1D(width, width)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        b, q, width = x.shape
        parts = self.c_attn(x).split(width, dim=2)
        queries, keys, values = (part.view(b, q, self.heads, -1).permute(0, 2, 1, 3) for part in parts)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=-2), torch.cat([past[1], values], dim=-2)
        scores = torch.matmul(queries, keys.transpose(-1, -2)) / math.sqrt(values.shape[-1])
        mixed = torch.matmul(scores.softmax(dim=-1), values)
        return self.c_proj(mixed.permute(0, 2, 1, 3).contiguous().view(b, q, width)), (keys, values)


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.c_fc, self.c_proj = Conv1D(width, hidden), Conv1D(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.c_fc(x)
        return self.c_proj(hidden * torch.sigmoid(1.702 * hidden))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, eps: float):
        super().__init__()
        self.ln_1, self.attn = RMSNorm(width, eps), Attention(width, heads)
        self.ln_2, self.mlp = RMSNorm(width, eps), MLP(width, 4 * width)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        mixed, past = self.attn(self.ln_1(x), past)
        x = x + mixed
        return x + self.mlp(self.ln_2(x)), past


class Transformer(nn.Module):
    def __init__(self, arguments: dict[str, Any]):
        super().__init__()
        width, eps = arguments["n_embd"], arguments.get("layer_norm_epsilon", 1e-5)
        self.wte = nn.Embedding(arguments["vocab_size"], width)
        self.wpe = nn.Embedding(arguments["n_positions"], width)
        self.h = nn.ModuleList(Block(width, arguments["n_head"], eps) for _ in range(arguments["n_layer"]))
        self.ln_f = RMSNorm(width, eps)

    def forward(self, ids: Tensor, position: Tensor, past: list) -> tuple[Tensor, list]:
        x, kept = self.wte(ids) + self.wpe(position), []
        for block, before in zip(self.h, past, strict=True):
            x, now = block(x, before)
            kept.append(now)
        return self.ln_f(x), kept


class PlainImageGPT(nn.Module):
    """Of the port's arguments, as the page `igpt` takes them; the last vector of the embedding is the start."""

    def __init__(self, arguments: dict[str, Any]):
        super().__init__()
        self.count, self.start = arguments["n_positions"], arguments["vocab_size"] - 1
        self.transformer = Transformer(arguments)
        self.lm_head = nn.Linear(arguments["n_embd"], arguments["vocab_size"] - 1, bias=False)

    def draw(self, count: int, likeliest: bool = False) -> Iterator[Tensor]:
        """The ids [b, 1] of every step, for `count` pictures; nothing is left out, as in OpenAI's sampler."""
        ids, past = torch.full((count, 1), self.start), [None] * len(self.transformer.h)
        for step in range(self.count):
            hidden, past = self.transformer(ids, torch.tensor([[step]]), past)
            shares = self.lm_head(hidden)[:, -1].softmax(-1)
            ids = shares.argmax(-1, keepdim=True) if likeliest else torch.multinomial(shares, 1)
            yield ids
