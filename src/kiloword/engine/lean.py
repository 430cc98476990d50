"""Lean: a stack in the shape of Llama as straight code over plain tensors, for steps of one row.

Touvron et al. 2023 (Llama) for the shape. With one row a step, calling modules and allocating results takes longer than
the arithmetic; here little is called, nothing is allocated twice, and the numbers are those of the stack.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu

from kiloword.transformer import Cache, RMSNormConfig, Stack, Stream, SwiGLUConfig, Transformer, UnmodulatedConfig

# Axes: b rows of the batch, t places in a row, c places attended to, w width, d channels of a head.


def lean(transformer: Transformer) -> Transformer:
    """The same transformer, sooner at steps of one row; itself if it has other parts than Llama."""
    if not isinstance(transformer, Stack) or transformer.training:
        return transformer
    config = transformer.config
    llama = (
        isinstance(config.norm, RMSNormConfig)
        and isinstance(config.feed_forward, SwiGLUConfig)
        and isinstance(config.modulation, UnmodulatedConfig)
        and isinstance(config.attention.query_norm, RMSNormConfig | None)
        and not config.attention.bias
        and config.attention.gain == 1
        and isinstance(config.exit_modulation, UnmodulatedConfig)
        and not config.patterns
    )
    return LeanStack(transformer) if llama else transformer


class LeanStack:
    """Obeys the law of transformers. It holds the weights of the stack as they are now: make it anew if they change."""

    def __init__(self, stack: Stack):
        self.stack, self.width, self.cache, self.causal = stack, stack.width, stack.cache, True
        self.layers = [LeanBlock(block, layer) for layer, block in enumerate(stack.blocks)]
        self.norm = rms([stack.norm])

    @torch.no_grad()
    def __call__(self, stream: Stream, cache: Cache | None = None) -> Float[Tensor, "b t w"]:
        if cache is None or stream.vectors.shape[1] != 1:
            return self.stack(stream, cache)
        mask = cache.mask(None, 1)
        mask = None if mask is None else mask[:, None]
        angles = None
        if self.stack.rotary is not None:
            cos, sin = self.stack.rotary.angles(stream.positions)
            angles = cos[:, 0], sin[:, 0]
        x = stream.vectors[:, 0].clone()
        for layer in self.layers:
            layer(x, angles, mask, cache)
        return self.norm(x)[:, None]


class LeanBlock:
    """One block; queries that share a key head are handed to attention as if they were several places."""

    def __init__(self, block: Any, layer: int):
        attention, feed_forward = block.attention, block.feed_forward
        self.layer, self.heads, self.key_heads = layer, attention.heads, attention.key_heads
        self.norm, self.thought_norm = rms([block.attention_norm]), rms([block.feed_forward_norm])
        self.qkv, self.out = attention.qkv.weight.t(), attention.out.weight.t()
        self.gate_up, self.down = feed_forward.gate_up.weight.t(), feed_forward.out.weight.t()
        self.turned = self.heads + self.key_heads
        self.sizes = (attention.heads + 2 * attention.key_heads, attention.head_dim)
        self.query_norm = None
        if attention.normed:
            self.query_norm = rms([attention.query_norm] * self.heads + [attention.key_norm] * self.key_heads)

    def __call__(
        self,
        x: Float[Tensor, "b w"],
        angles: tuple[Float[Tensor, "b 1 d"], Float[Tensor, "b 1 d"]] | None,
        mask: Bool[Tensor, "b 1 1 c"] | None,
        cache: Cache,
    ) -> None:
        """Add to x what the block has to say."""
        b, (all_heads, head_dim) = x.shape[0], self.sizes
        parts = torch.mm(self.norm(x), self.qkv).view(b, all_heads, head_dim)
        turned, values = parts.narrow(1, 0, self.turned), parts.narrow(1, self.turned, self.key_heads)
        if self.query_norm is not None:
            turned = self.query_norm(turned)
        if angles is not None:
            turned = torch.addcmul(turned * angles[0], turned.roll(head_dim // 2, -1), angles[1])
        queries = turned.narrow(1, 0, self.heads).view(b, self.key_heads, -1, head_dim)
        keys = turned.narrow(1, self.heads, self.key_heads)
        keys, values = cache.append(self.layer, keys.unsqueeze(2), values.unsqueeze(2))
        mixed = scaled_dot_product_attention(queries, keys, values, mask)
        x.addmm_(mixed.reshape(b, -1), self.out)
        gate, up = torch.mm(self.thought_norm(x), self.gate_up).chunk(2, dim=1)
        x.addmm_(silu(gate).mul_(up), self.down)


def rms(norms: list[Any]) -> Callable[[Tensor], Tensor]:
    """One RMS norm, or those of all heads: x / sqrt(mean x^2 + eps) = sqrt(w) x / hypot(|x|, sqrt(w eps))."""
    width = len(norms[0].weight)
    gains = torch.stack([norm.weight.detach() for norm in norms]).squeeze(0) * math.sqrt(width)
    least = gains.new_tensor(math.sqrt(width * norms[0].eps))
    length, hypot = torch.linalg.vector_norm, torch.hypot

    def norm(x: Tensor) -> Tensor:
        return (x / hypot(length(x, dim=-1, keepdim=True), least)).mul_(gains)

    return norm
