"""LlamaGen's drawing rewritten plainly: its blocks and its loop as its authors have them, without kiloword's engine.

Sun et al. 2024 (Autoregressive Model Beats Diffusion); github.com/FoundationVision/LlamaGen. Weights have the authors'
names; a batch has the classes, then as many null classes.
"""

from collections.abc import Iterator
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).type_as(x) * self.weight


class KVCache(nn.Module):
    """Buffers of the full length from the beginning; attention runs over all of it, masked."""

    def __init__(self, batch: int, length: int, heads: int, head_dim: int):
        super().__init__()
        self.register_buffer("k_cache", torch.zeros(batch, heads, length, head_dim))
        self.register_buffer("v_cache", torch.zeros(batch, heads, length, head_dim))

    def update(self, positions: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.k_cache[:, :, positions] = k
        self.v_cache[:, :, positions] = v
        return self.k_cache, self.v_cache


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.width, self.heads, self.head_dim = width, heads, width // heads
        self.wqkv = nn.Linear(width, 3 * width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)
        self.kv_cache: KVCache | None = None

    def forward(self, x: Tensor, angles: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        b, q, _ = x.shape
        queries, keys, values = self.wqkv(x).split([self.width] * 3, dim=-1)
        queries = rotated(queries.view(b, q, self.heads, self.head_dim), angles)
        keys = rotated(keys.view(b, q, self.heads, self.head_dim), angles)
        values = values.view(b, q, self.heads, self.head_dim)
        queries, keys, values = (part.transpose(1, 2) for part in (queries, keys, values))
        keys, values = self.kv_cache.update(positions, keys, values)
        mixed = scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return self.wo(mixed.transpose(1, 2).contiguous().view(b, q, self.width))


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.w1 = nn.Linear(width, hidden, bias=False)
        self.w3 = nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.attention, self.feed_forward = Attention(width, heads), FeedForward(width, hidden)
        self.attention_norm, self.ffn_norm = RMSNorm(width), RMSNorm(width)

    def forward(self, x: Tensor, angles: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        h = x + self.attention(self.attention_norm(x), angles, positions, mask)
        return h + self.feed_forward(self.ffn_norm(h))


class LabelEmbedder(nn.Module):
    def __init__(self, classes: int, width: int):
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, width)


class PlainLlamaGen(nn.Module):
    """Of the authors' arguments, as the page `llamagen` takes them."""

    def __init__(self, arguments: dict[str, Any]):
        super().__init__()
        width, heads, every = arguments["dim"], arguments["n_head"], arguments["multiple_of"]
        hidden = -(-int(2 * 4 * width / 3) // every) * every
        self.width, self.heads, self.classes = width, heads, arguments["num_classes"]
        self.side = isqrt(arguments["block_size"])
        self.cls_embedding = LabelEmbedder(self.classes, width)
        self.tok_embeddings = nn.Embedding(arguments["vocab_size"], width)
        self.layers = nn.ModuleList(Block(width, heads, hidden) for _ in range(arguments["n_layer"]))
        self.norm = RMSNorm(width)
        self.output = nn.Linear(width, arguments["vocab_size"], bias=False)
        self.angles = table_of_angles(self.side, width // heads)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        angles, mask = self.angles[positions], mask[:, None, positions]
        for layer in self.layers:
            x = layer(x, angles, positions, mask)
        return self.output(self.norm(x)).float()

    def setup_caches(self, batch: int, length: int) -> Tensor:
        """Caches of the length rounded up to eights, and the causal mask."""
        length = -(-length // 8) * 8
        for layer in self.layers:
            layer.attention.kv_cache = KVCache(batch, length, self.heads, self.width // self.heads)
        return torch.tril(torch.ones(length, length, dtype=torch.bool)).repeat(batch, 1, 1)

    def draw(
        self, labels: list[int], scale: float, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0,
        likeliest: bool = False,
    ) -> Iterator[Tensor]:  # fmt: skip
        """The ids [b, 1] of every step."""
        b, count = len(labels), self.side**2
        classes = torch.tensor([*labels, *[self.classes] * b])
        mask = self.setup_caches(2 * b, count + 1)
        x = self.cls_embedding.embedding_table(classes)[:, None]
        for step in range(count):
            logits = self(x, torch.tensor([step]), mask)
            condition, null = logits.split(b)
            logits = null + (condition - null) * scale
            ids = sampled(logits, temperature, top_k, top_p, likeliest)
            yield ids
            x = self.tok_embeddings(torch.cat([ids, ids]))


def table_of_angles(side: int, head_dim: int, base: float = 10000.0) -> Tensor:
    """Cosine and sine of every pair of channels; zeros for the class, which has no position."""
    half = head_dim // 2
    speeds = 1.0 / base ** (torch.arange(0, half, 2)[: half // 2].float() / half)
    rotations = torch.outer(torch.arange(side), speeds)
    rows, columns = rotations[:, None].expand(-1, side, -1), rotations[None].expand(side, -1, -1)
    both = torch.cat([rows, columns], dim=-1).flatten(0, 1)
    return torch.cat([torch.zeros(1, half, 2), torch.stack([both.cos(), both.sin()], dim=-1)])


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Rotates pairs of adjacent channels."""
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    cos, sin = angles.view(1, pairs.shape[1], 1, pairs.shape[3], 2).unbind(-1)
    one, two = pairs.unbind(-1)
    return torch.stack([one * cos - two * sin, two * cos + one * sin], dim=-1).flatten(3).type_as(x)


def sampled(logits: Tensor, temperature: float, top_k: int, top_p: float, likeliest: bool) -> Tensor:
    """An id for each sequence, by torch's own generator."""
    logits = logits[:, -1] / max(temperature, 1e-5)
    if top_k:
        least = torch.topk(logits, min(top_k, logits.shape[-1]))[0][..., -1, None]
        logits[logits < least] = -torch.inf
    if top_p < 1:
        descending, index = torch.sort(logits, descending=True)
        drop = torch.cumsum(descending.softmax(-1), dim=-1) > top_p
        drop[..., 1:] = drop[..., :-1].clone()
        drop[..., 0] = False
        logits[drop.scatter(1, index, drop)] = -torch.inf
    shares = logits.softmax(-1)
    return shares.topk(1, dim=-1)[1] if likeliest else torch.multinomial(shares, num_samples=1)
