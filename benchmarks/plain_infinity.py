"""Infinity's drawing rewritten plainly: its blocks, its bits and its loop as its authors have them.

Han et al. 2024 (Infinity); github.com/FoundationVision/Infinity. Keys and values of the pictures are kept by
concatenation, those of the text are computed again at every step, the canvas decoded so far is updated, and there is
no mask on the text, as all texts are equally long here. What VAR has too is imported from there.
Weights have the authors' names.
"""

from collections.abc import Iterator
from typing import Any

import torch
from plain_var import FFN, AdaLNBeforeHead, sampled
from plain_var import SelfAttention as UnrotatedAttention
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear, normalize, scaled_dot_product_attention

from kiloword.published.infinity import CHUNKS


class SelfAttention(UnrotatedAttention):
    """With rotary positions of adjacent channels."""

    def forward(self, x: Tensor, rotations: Tensor) -> Tensor:
        b, q, width = x.shape
        bias = torch.cat([self.q_bias, self.zero_k_bias, self.v_bias])
        parts = linear(x, self.mat_qkv.weight, bias).view(b, q, 3, self.heads, self.head_dim)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        queries = normalize(queries, dim=-1).mul(self.scale_mul_1H11.clamp_max(self.most).exp())
        queries, keys = rotated(torch.stack([queries, normalize(keys, dim=-1)]), rotations).unbind(0)
        if self.cached is not None:
            keys, values = torch.cat([self.cached[0], keys], dim=2), torch.cat([self.cached[1], values], dim=2)
        self.cached = keys, values
        mixed = scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return self.proj(mixed.transpose(1, 2).reshape(b, q, width))


class CrossAttention(nn.Module):
    """To the text; with one learned query it pools a text into a vector."""

    def __init__(self, width: int, channels: int, heads: int, pools: bool = False):
        super().__init__()
        self.heads = heads
        self.mat_q = nn.Parameter(torch.randn(1, heads, width // heads)) if pools else nn.Linear(width, width)
        self.mat_kv = nn.Linear(channels, 2 * width, bias=False)
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("zero_k_bias", torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor | None, text: Tensor) -> Tensor:
        b, m, _ = text.shape
        mixed = linear(text, self.mat_kv.weight, torch.cat([self.zero_k_bias, self.v_bias]))
        keys, values = mixed.view(b, m, 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if x is None:
            queries = self.mat_q.view(1, self.heads, 1, -1).expand(b, -1, -1, -1)
        else:
            queries = self.mat_q(x).view(b, x.shape[1], self.heads, -1).transpose(1, 2)
        mixed = scaled_dot_product_attention(queries, keys, values)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class CrossAttnBlock(nn.Module):
    """Gates, scales and shifts are those that all blocks share, and what a block adds to them."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.sa, self.ca, self.ffn = (
            SelfAttention(width, heads), CrossAttention(width, width, heads), FFN(width, 4 * width)
        )  # fmt: skip
        self.ln_wo_grad = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.ca_norm = nn.LayerNorm(width, eps=1e-6)
        self.ada_gss = nn.Parameter(torch.randn(1, 1, 6, width) * width**-0.5)

    def forward(self, x: Tensor, shared: Tensor, text: Tensor, rotations: Tensor) -> Tensor:
        gate1, gate2, scale1, scale2, shift1, shift2 = (self.ada_gss + shared).unbind(2)
        x = x + self.sa(self.ln_wo_grad(x).mul(scale1.add(1)).add_(shift1), rotations).mul_(gate1)
        x = x + self.ca(self.ca_norm(x), text)
        return x + self.ffn(self.ln_wo_grad(x).mul(scale2.add(1)).add_(shift2)).mul(gate2)


class TextNorm(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Module(nn.Module):
    """A module with children only."""

    def __init__(self, **parts: nn.Module):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


class PlainInfinity(nn.Module):
    """Of the authors' arguments, as the page `infinity` takes them, without 2x2 patches."""

    def __init__(self, arguments: dict[str, Any]):
        super().__init__()
        width, heads, depth = arguments["embed_dim"], arguments["num_heads"], arguments["depth"]
        channels, self.bits = arguments["text_channels"], arguments["d_vae_codebook_dim"]
        self.text_norm = TextNorm(channels)
        self.text_proj_for_sos = Module(ca=CrossAttention(width, channels, channels // 128, pools=True))
        self.text_proj_for_ca = nn.Sequential(
            nn.Linear(channels, width), nn.GELU(approximate="tanh"), nn.Linear(width, width)
        )
        self.cfg_uncond = nn.Parameter(torch.randn(arguments["text_maxlen"], channels) * channels**-0.5)
        self.pos_start = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.lvl_embed = nn.Embedding(15, width)
        self.word_embed = nn.Linear(self.bits, width)
        self.shared_ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        chunk = CHUNKS.get(depth, 1)
        self.block_chunks = nn.ModuleList(
            Module(module=nn.ModuleList(CrossAttnBlock(width, heads) for _ in range(chunk)))
            for _ in range(depth // chunk)
        )
        self.head_nm = AdaLNBeforeHead(width)
        self.head = nn.Linear(width, 2 * self.bits)
        self.head_dim = width // heads

    @property
    def blocks(self) -> list[CrossAttnBlock]:
        return [block for chunk in self.block_chunks for block in chunk.module]

    def draw(
        self, texts: list[Tensor], grids: tuple[tuple[int, int], ...], frame: tuple[int, int], cfg: float,
        top_p: float = 0.0, likeliest: bool = False,
    ) -> Iterator[Tensor]:  # fmt: skip
        """The bits [b, rows * columns, d] of every grid; all texts [m, c] are equally long."""
        b, last, side = len(texts), len(grids) - 1, grids[-1]
        known = torch.stack(texts)
        text = self.text_norm(torch.cat([known, self.cfg_uncond[: known.shape[1]].expand(b, -1, -1)]))
        condition = self.text_proj_for_sos.ca(None, text)[:, 0]
        text = self.text_proj_for_ca(text)
        shared = self.shared_ada_lin(condition).view(2 * b, 1, 6, -1)
        rotations = [self.rotations(grid, frame) for grid in grids]
        x = condition[:, None] + self.pos_start.expand(2 * b, 1, -1)
        canvas = x.new_zeros(b, self.bits, *side)
        for block in self.blocks:
            block.sa.cached = None
        for step, (rows, columns) in enumerate(grids):
            x = x + self.lvl_embed(torch.full((2 * b, x.shape[1]), step))
            for block in self.blocks:
                x = block(x, shared, text, rotations[step])
            logits = self.head(self.head_nm(x.float(), condition).float()).float()
            each = (cfg * logits[:b] + (1 - cfg) * logits[b:]).unflatten(-1, (-1, 2)).flatten(1, 2)  # one per bit
            bits = sampled(each, 0, top_p, likeliest).unflatten(1, (-1, self.bits))
            yield bits
            corners = normalize(2.0 * bits - 1, dim=-1).transpose(1, 2).reshape(b, self.bits, 1, rows, columns)
            canvas = canvas + interpolate(corners, size=(1, *side), mode="trilinear")[:, :, 0]
            if step < last:
                fed = interpolate(canvas[:, :, None], size=(1, *grids[step + 1]), mode="trilinear")
                x = self.word_embed(fed.flatten(2).transpose(1, 2)).repeat(2, 1, 1)
        for block in self.blocks:
            block.sa.cached = None

    def rotations(self, grid: tuple[int, int], frame: tuple[int, int]) -> Tensor:
        """Cosines and sines [2, n, head_dim / 2] of a grid's positions, scaled to the largest one."""
        step = 10000 ** (-torch.arange(0, self.head_dim // 2, 2) / (self.head_dim // 2))
        sides = [(torch.arange(count) * (longest / count)).round() for count, longest in zip(grid, frame, strict=True)]
        rows, columns = torch.meshgrid(*sides, indexing="ij")
        angles = torch.cat([rows.reshape(-1, 1) * step, columns.reshape(-1, 1) * step], dim=-1)
        return torch.stack([angles.cos(), angles.sin()])


def rotated(x: Tensor, rotations: Tensor) -> Tensor:
    """Rotates pairs of adjacent channels."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotations
    return torch.stack([cos * first - sin * second, sin * first + cos * second], dim=-1).flatten(-2)
