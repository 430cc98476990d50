"""Fused stack: a stack as straight code over plain tensors, for steps of few positions.

With one position a step, calling modules and allocating results takes longer than the arithmetic (Pope et al. 2022);
here little is called, buffers are reused, and modulations and the context's mask are computed once a drawing. The
numbers are those of the stack. `fused` keeps the ordinary stack while it is learning or has parts not known here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from kiloword.engine.cpu.activation import KNOWN, activation_of, first_of
from kiloword.engine.cpu.packed_linear import Packed
from kiloword.engine.cpu.single_token import single_token
from kiloword.transformer import (
    Cache,
    Context,
    CrossAttentionConfig,
    GELUConfig,
    KeyValueCache,
    LayerNormConfig,
    RMSNormConfig,
    Stack,
    StackConfig,
    Stream,
    Transformer,
    UnitConfig,
)

# Axes: b sequences of the batch, t new positions of each, r = b t, c positions attended to, m positions of context,
# w width, d channels of a head, k inputs of a residual projection.

EPS = 1e-12  # lower bound of the length that a vector is divided by, as in torch.nn.functional.normalize

Change = Callable[[Tensor], Tensor]
Half = tuple[Tensor, Tensor, Tensor]  # of half a block: 1 + scale, shift and gate of each sequence


def fused(transformer: Transformer) -> Transformer:
    """The same transformer, faster for steps whose positions all see each other; the ordinary one if it is learning or
    has parts that are not known here."""
    if not isinstance(transformer, Stack) or transformer.training:
        return transformer
    config = transformer.config
    known = (
        isinstance(config.feed_forward, KNOWN)
        and isinstance(config.attention.query_norm, RMSNormConfig | UnitConfig | None)
        and not config.patterns
    )
    return FusedStack(transformer) if known else transformer


@dataclass(frozen=True)
class MaskedContext:
    """A context, its attention mask (None: all to all), and which positions attend to it at all (None: all)."""

    context: Context
    mask: Bool[Tensor, "b 1 #t m"] | None
    attending: Bool[Tensor, "b #t 1"] | None


def masked(context: Context) -> MaskedContext:
    """A context of a batch with one sample a sequence."""
    mask = context.mask(None)
    attending = mask.any(-1, keepdim=True)
    mask = None if mask.all() else (mask | ~attending)[:, None]
    return MaskedContext(context, mask, None if attending.all() else attending)


class FusedStack:
    """A transformer without autograd. It copies some weights when it is made: make a new one if they change.

    It falls back to the ordinary stack without a cache, and for spans, query indices and topics.
    """

    def __init__(self, stack: Stack):
        self.stack, self.width, self.cache, self.causal = stack, stack.width, stack.cache, True
        self.cross_attends, self.modulated = stack.cross_attends, stack.modulated
        self.layers = [FusedBlock(stack.config, block, layer) for layer, block in enumerate(stack.blocks)]
        self.norm, self.single_token = norm_of(stack.config, stack.norm), single_token(stack)
        self.vector: Tensor | None = None
        self.modulations: list[tuple[Half, ...]] = []
        self.context: MaskedContext | None = None

    @torch.no_grad()
    def __call__(self, stream: Stream, cache: Cache | None = None) -> Float[Tensor, "b t w"]:
        unread = stream.context is not None and not self.stack.cross_attends
        special = stream.span is not None or stream.query_index is not None or stream.topic is not None
        if cache is None or special or unread:
            return self.stack(stream, cache)
        if self.context is None or self.context.context is not stream.context:
            self.context = None if stream.context is None else masked(stream.context)
        angles = None if self.stack.rotary is None else self.stack.rotary.angles(stream.positions)
        if self.single_token is not None and self._alone(stream) and isinstance(cache, KeyValueCache):
            return self.single_token(stream.vectors, angles, cache)
        hidden_guidance = stream.hidden_guidance
        blended = None if hidden_guidance is None else hidden_guidance.block_of(len(self.layers))
        mask = cache.mask(None, stream.vectors.shape[1])
        mask = None if mask is None else mask[:, None]
        x = stream.vectors.clone()
        *blocks, output = self._modulation(stream.modulation)
        for layer, halves in zip(self.layers, blocks, strict=True):
            layer(x, angles, mask, halves, cache, self.context)
            if hidden_guidance is not None and layer.layer == blended:
                x = hidden_guidance.combined(x)
        return modulated_norm(self.norm, x, output, 0)

    def _alone(self, stream: Stream) -> bool:
        """Whether a step is one token, without cross-attention context and hidden guidance."""
        return stream.vectors.shape[:2] == (1, 1) and stream.context is None and stream.hidden_guidance is None

    def _modulation(self, vector: Tensor | None) -> list[tuple[Half, ...]]:
        """Scale, shift and gate of every block and of the output for a conditioning vector; empty without adaLN."""
        if not self.modulations or vector is not self.vector:
            shared = self.stack.shared_modulation(vector)
            blocks: list[Any] = list(self.stack.blocks)
            outputs = [block.modulation(shared) for block in blocks]
            outputs.append(self.stack.output_modulation(vector))
            self.vector, self.modulations = vector, [halves_of(by) for by in outputs]
        return self.modulations


class FusedBlock:
    """One block; queries that share a key head are handed to attention as if they were several positions."""

    def __init__(self, config: StackConfig, block: Any, layer: int):
        attention = block.attention
        self.layer, self.heads, self.key_heads = layer, attention.heads, attention.key_heads
        self.head_dim, self.scale = attention.head_dim, attention.scale
        self.attention_norm, self.feed_forward_norm = (
            norm_of(config, n) for n in (block.attention_norm, block.feed_forward_norm)
        )
        self.qkv = projection_of(attention)
        self.query_norm = query_norm_of(attention)
        self.feed_forward = hidden_of(config.feed_forward, block.feed_forward)
        self.out, self.down = ResidualProjection(attention.out), ResidualProjection(block.feed_forward.out)
        cross = config.cross_attention
        self.cross_attention = None if cross is None else FusedCrossAttention(cross, block.cross_attention, layer)

    def __call__(
        self,
        x: Float[Tensor, "b t w"],
        angles: tuple[Float[Tensor, "b t 1 d"], Float[Tensor, "b t 1 d"]] | None,
        mask: Bool[Tensor, "b 1 t c"] | None,
        halves: tuple[Half, ...],
        cache: Cache,
        context: MaskedContext | None,
    ) -> None:
        """Add the residual of the block to x, in place."""
        mixed = self._attend(modulated_norm(self.attention_norm, x, halves, 0), angles, mask, cache)
        self.out(x, mixed, halves, 0)
        if self.cross_attention is not None and context is not None:
            self.cross_attention(x, context, cache)
        self.down(x, self.feed_forward(modulated_norm(self.feed_forward_norm, x, halves, 1).flatten(0, 1)), halves, 1)

    def _attend(
        self, x: Float[Tensor, "b t w"], angles: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: Cache
    ) -> Float[Tensor, "r k"]:
        b, t, _ = x.shape
        rotary = self.heads + self.key_heads
        parts = self.qkv(x.flatten(0, 1)).view(b, t, rotary + self.key_heads, self.head_dim)
        rotated, values = parts.narrow(2, 0, rotary), parts.narrow(2, rotary, self.key_heads)
        if self.query_norm is not None:
            self.query_norm(rotated)
        if angles is not None:
            partner = rotated.roll(self.head_dim // 2, -1)
            rotated.mul_(angles[0]).addcmul_(partner, angles[1])
        queries, keys = rotated.narrow(2, 0, self.heads), rotated.narrow(2, self.heads, self.key_heads)
        keys, values = cache.append(self.layer, keys.transpose(1, 2), values.transpose(1, 2))
        if t == 1:
            queries = queries.view(b, self.key_heads, -1, self.head_dim)
            return scaled_dot_product_attention(queries, keys, values, mask, scale=self.scale).reshape(b, -1)
        grouped = self.heads != self.key_heads
        mixed = scaled_dot_product_attention(
            queries.transpose(1, 2), keys, values, mask, scale=self.scale, enable_gqa=grouped
        )
        return mixed.transpose(1, 2).reshape(b * t, -1)


class FusedCrossAttention:
    """A block's cross-attention; the cache keeps the keys and values of the context as the stack does."""

    def __init__(self, config: CrossAttentionConfig, module: Any, layer: int):
        attention = module.attention
        self.norm, self.layer, self.heads = norm_of(config, module.norm), layer, attention.heads
        self.query: Change = attention.query.forward
        self.out: Change = attention.out.forward
        self.key_values: Change = attention.key_values

    def __call__(self, x: Float[Tensor, "b t w"], context: MaskedContext, cache: Cache) -> None:
        """Add the output of cross-attention to x, in place."""
        b, t, _ = x.shape
        projected = cache.cached_context(self.layer, context.context, lambda: self.key_values(context.context.vectors))
        keys, values = projected.view(b, projected.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        queries = self.query(self.norm(x).flatten(0, 1)).view(b, t, self.heads, -1).transpose(1, 2)
        mixed = scaled_dot_product_attention(queries, keys, values, context.mask)
        change = self.out(mixed.transpose(1, 2).reshape(b * t, -1)).view_as(x)
        if context.attending is None:
            x.add_(change)
        else:
            x.addcmul_(change, context.attending.to(change))


class ResidualProjection:
    """A projection whose result, gated if modulated, is added to the residual stream in place."""

    def __init__(self, layer: Any):
        self.matrix: Change = layer.forward

    def __call__(self, x: Float[Tensor, "b t w"], y: Float[Tensor, "r k"], halves: tuple[Half, ...], half: int) -> None:
        change = self.matrix(y).view_as(x)
        if halves:
            x.addcmul_(change, halves[half][2])
        else:
            x.add_(change)


def modulated_norm(
    norm: Change, x: Float[Tensor, "b t w"], halves: tuple[Half, ...], half: int
) -> Float[Tensor, "b t w"]:
    """Normed, scaled and shifted, in place: allocating is slower than the arithmetic."""
    normed = norm(x)
    return torch.addcmul(halves[half][1], normed, halves[half][0], out=normed) if halves else normed


def halves_of(by: Any) -> tuple[Half, ...]:
    """1 + scale, shift and gate of each half of a modulation; empty without one."""
    return tuple((1 + half[1], half[0], half[2]) for half in getattr(by, "halves", ()) if half)


def projection_of(attention: Any) -> Change:
    """The projection to queries, keys and values, where keys may have no bias."""
    matrix: Change = attention.qkv.forward
    if attention.query_bias is None:
        return matrix
    bias = attention.bias().detach()
    return lambda x: matrix(x).add_(bias)


def hidden_of(config: Any, network: Any) -> Change:
    """All of a feed-forward network before its last matrix: projection and activation."""
    first: Change = first_of(network).forward
    if isinstance(config, GELUConfig) and config.approximate != "quick" and isinstance(first, Packed):
        return partial(first, approximate=config.approximate)
    activation = activation_of(config)
    return lambda x: activation(first(x))


def norm_of(config: StackConfig | CrossAttentionConfig, norm: Any) -> Change:
    """The norm of a stack, or of cross-attention."""
    if isinstance(config.norm, LayerNormConfig):
        return lambda x: layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return rms(norm.weight, norm.eps)


def query_norm_of(attention: Any) -> Change | None:
    """The norm of the queries and keys of all heads at once, in place; None without one."""
    if not attention.normed:
        return None
    if hasattr(attention.query_norm, "eps"):
        gains, length = rms_of(attention.gains(), attention.query_norm.eps)
        return lambda x: x.div_(length(x)).mul_(gains)
    ones = torch.ones(attention.key_heads, 1).to(attention.query_norm.scale)
    lengths = torch.cat([attention.query_norm.factor(), ones]).detach()
    return lambda x: x.mul_(lengths / vector_norm(x, dim=-1, keepdim=True).clamp_(min=EPS))


def rms(gains: Float[Tensor, "w"], eps: float) -> Change:
    """An RMS norm."""
    gains, length = rms_of(gains, eps)
    return lambda x: (x / length(x)).mul_(gains)


def rms_of(gains: Float[Tensor, "*h w"], eps: float) -> tuple[Float[Tensor, "*h w"], Change]:
    """One RMS norm, or those of all heads: x / sqrt(mean x^2 + eps) = sqrt(w) x / hypot(|x|, sqrt(w eps)). The
    factor and the function of the divisor."""
    width = gains.shape[-1]
    least = gains.new_tensor(math.sqrt(width * eps))
    return gains.detach() * math.sqrt(width), lambda x: torch.hypot(vector_norm(x, dim=-1, keepdim=True), least)
