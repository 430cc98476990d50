"""VAR's drawing rewritten plainly: its blocks, its quantizer and its loop as its authors have them.

Tian et al. 2024 (Visual Autoregressive Modeling); github.com/FoundationVision/VAR. Keys and values are kept by
concatenation, the canvas decoded so far is updated. Weights have the authors' names.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear, normalize, scaled_dot_product_attention


class SelfAttention(nn.Module):
    """Queries and keys of length 1, a learned scale for each head."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.head_dim, self.most = heads, width // heads, math.log(100)
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, heads, 1, 1), 4.0).log())
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("zero_k_bias", torch.zeros(width))
        self.proj = nn.Linear(width, width)
        self.cached: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        b, q, width = x.shape
        bias = torch.cat([self.q_bias, self.zero_k_bias, self.v_bias])
        parts = linear(x, self.mat_qkv.weight, bias).view(b, q, 3, self.heads, self.head_dim)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        queries = normalize(queries, dim=-1).mul(self.scale_mul_1H11.clamp_max(self.most).exp())
        keys = normalize(keys, dim=-1)
        if self.cached is not None:
            keys, values = torch.cat([self.cached[0], keys], dim=2), torch.cat([self.cached[1], values], dim=2)
        self.cached = keys, values
        mixed = scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return self.proj(mixed.transpose(1, 2).reshape(b, q, width))


class FFN(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class AdaLNSelfAttn(nn.Module):
    """Gates, scales and shifts are computed again from the class at every step."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.width, self.attn, self.ffn = width, SelfAttention(width, heads), FFN(width, 4 * width)
        self.ln_wo_grad = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gate1, gate2, scale1, scale2, shift1, shift2 = self.ada_lin(condition).view(-1, 1, 6, self.width).unbind(2)
        x = x + self.attn(self.ln_wo_grad(x).mul(scale1.add(1)).add_(shift1)).mul_(gate1)
        return x + self.ffn(self.ln_wo_grad(x).mul(scale2.add(1)).add_(shift2)).mul(gate2)


class AdaLNBeforeHead(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.ln_wo_grad = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.ada_lin(condition).view(-1, 1, 2, self.width).unbind(2)
        return self.ln_wo_grad(x).mul(scale.add(1)).add_(shift)


class Phi(nn.Conv2d):
    """Half of what came, half of its convolution."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x.mul(0.5) + super().forward(x).mul_(0.5)


class Phis(nn.Module):
    """A few that the grids share: whichever tick is the nearest."""

    def __init__(self, channels: int, count: int):
        super().__init__()
        self.qresi_ls = nn.ModuleList(Phi(channels) for _ in range(count))
        margin = 1 / 3 / count if count == 4 else 1 / 2 / count
        self.ticks = np.linspace(margin, 1 - margin, count)

    def at(self, share: float) -> nn.Module:
        return self.qresi_ls[int(np.argmin(np.abs(self.ticks - share)))]


class Quantize(nn.Module):
    def __init__(self, codes: int, channels: int, sides: tuple[int, ...]):
        super().__init__()
        self.sides, self.embedding = sides, nn.Embedding(codes, channels)
        self.quant_resi = Phis(channels, 4)

    def next_input(self, step: int, canvas: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """The canvas with these codes added, and what the next grid is fed."""
        side, last = self.sides[-1], len(self.sides) - 1
        if step == last:
            return canvas.add_(self.quant_resi.at(1.0)(codes)), canvas
        addition = self.quant_resi.at(step / last)(interpolate(codes, size=(side, side), mode="bicubic"))
        canvas.add_(addition)
        return canvas, interpolate(canvas, size=(self.sides[step + 1],) * 2, mode="area")


class PlainVAR(nn.Module):
    """Of the authors' arguments, as the page `var` takes them, with cosine attention and a modulation per block."""

    def __init__(self, arguments: dict[str, Any]):
        super().__init__()
        width, heads = arguments["embed_dim"], arguments["num_heads"]
        self.sides, self.classes = tuple(arguments["patch_nums"]), arguments["num_classes"]
        self.channels, count = arguments["Cvae"], sum(side**2 for side in arguments["patch_nums"])
        self.quantize = Quantize(arguments["V"], self.channels, self.sides)
        self.word_embed = nn.Linear(self.channels, width)
        self.class_emb = nn.Embedding(self.classes + 1, width)
        self.pos_start = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_1LC = nn.Parameter(torch.randn(1, count, width) * 0.02)
        self.lvl_embed = nn.Embedding(len(self.sides), width)
        self.register_buffer("lvl_1L", torch.cat([torch.full((1, s * s), k) for k, s in enumerate(self.sides)], 1))
        self.blocks = nn.ModuleList(AdaLNSelfAttn(width, heads) for _ in range(arguments["depth"]))
        self.head_nm = AdaLNBeforeHead(width)
        self.head = nn.Linear(width, arguments["V"])

    def draw(
        self, labels: list[int], cfg: float, top_k: int = 0, top_p: float = 0.0, likeliest: bool = False
    ) -> Iterator[Tensor]:
        """The ids [b, side * side] of every step; guidance of 1 + `cfg` in the end."""
        b, last = len(labels), len(self.sides) - 1
        condition = self.class_emb(torch.tensor([*labels, *[self.classes] * b]))
        embedded = self.lvl_embed(self.lvl_1L) + self.pos_1LC
        x = condition[:, None].expand(2 * b, 1, -1) + self.pos_start.expand(2 * b, 1, -1) + embedded[:, :1]
        canvas, done = x.new_zeros(b, self.channels, self.sides[-1], self.sides[-1]), 0
        for block in self.blocks:
            block.attn.cached = None
        for step, side in enumerate(self.sides):
            done += side * side
            for block in self.blocks:
                x = block(x, condition)
            logits = self.head(self.head_nm(x.float(), condition).float()).float()
            much = cfg * step / max(1, last)
            ids = sampled((1 + much) * logits[:b] - much * logits[b:], top_k, top_p, likeliest)
            yield ids
            codes = self.quantize.embedding(ids).transpose(1, 2).reshape(b, self.channels, side, side)
            canvas, fed = self.quantize.next_input(step, canvas, codes)
            if step < last:
                next_positions = embedded[:, done : done + self.sides[step + 1] ** 2]
                x = (self.word_embed(fed.view(b, self.channels, -1).transpose(1, 2)) + next_positions).repeat(2, 1, 1)
        for block in self.blocks:
            block.attn.cached = None


def sampled(logits: Tensor, top_k: int, top_p: float, likeliest: bool) -> Tensor:
    """An id for each token, by torch's own generator; the logits are changed in place."""
    if likeliest:
        return logits.argmax(-1)
    b, n, values = logits.shape
    if top_k:
        least = logits.topk(top_k, largest=True, sorted=False, dim=-1)[0].amin(dim=-1, keepdim=True)
        logits.masked_fill_(logits < least, -torch.inf)
    if top_p:
        rising, index = logits.sort(dim=-1, descending=False)
        drop = rising.softmax(dim=-1).cumsum_(dim=-1) <= 1 - top_p
        drop[..., -1:] = False
        logits.masked_fill_(drop.scatter(drop.ndim - 1, index, drop), -torch.inf)
    return torch.multinomial(logits.softmax(-1).view(-1, values), 1, replacement=True).view(b, n)
