"""Single token: a stack for steps of one token, where call overhead outweighs the arithmetic: vectors in NumPy.

A call of NumPy takes a third of the time of one of PyTorch, and has no gradients. Matrix products are PyTorch's all
the same: NumPy's BLAS has a thread pool of its own, which spins and cannot be set from here. Results are written into
buffers that are allocated once; the numbers are those of the stack.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from kiloword.engine.cpu.activation import activation_of, first_of
from kiloword.transformer import KeyValueCache, RMSNormConfig, Stack, StackConfig

# Axes: w width, i inputs, o outputs, n vectors, d channels of a head, p = d / 2, h key heads, c positions of the
# cache (its capacity).

Norm = Callable[[ndarray], ndarray]
Rotation = tuple[Float[ndarray, "1 2 p"], Float[ndarray, "1 2 p"]]


def single_token(stack: Stack) -> "SingleToken | None":
    """The stack for steps of one token; None if it has parts that are not known here, or is not float32 on a CPU."""
    query_norm = stack.config.attention.query_norm
    known = not stack.modulated and (query_norm is None or isinstance(query_norm, RMSNormConfig))
    plain = all(p.dtype is torch.float32 and p.device.type == "cpu" for p in stack.parameters())
    return SingleToken(stack) if known and plain else None


class SingleToken:
    """A stack for one token a step. It copies some weights when it is made: make a new one if they change."""

    def __init__(self, stack: Stack):
        self.blocks = [TokenBlock(stack.config, block) for block in stack.blocks]
        self.norm = norm_of(stack.norm)

    def __call__(
        self, vector: Float[Tensor, "1 1 w"], angles: tuple[Tensor, Tensor] | None, cache: KeyValueCache
    ) -> Float[Tensor, "1 1 w"]:
        """The hidden vector of a token that follows all cached ones. Raises ValueError if the cache is full."""
        x, position = vector.flatten().numpy().copy(), cache.reserve(1)
        rotation = None if angles is None else (halves(angles[0].numpy()), halves(angles[1].numpy()))
        keys, values = cache.keys.numpy()[:, 0], cache.values.numpy()[:, 0]
        for layer, block in enumerate(self.blocks):
            block(x, rotation, keys[layer], values[layer], position)
        return torch.from_numpy(self.norm(x).copy()).view_as(vector)


class TokenBlock:
    """One block of the stack."""

    def __init__(self, config: StackConfig, block: Any):
        attention, network = block.attention, block.feed_forward
        self.attention_norm, self.feed_forward_norm = norm_of(block.attention_norm), norm_of(block.feed_forward_norm)
        self.attention, self.out = TokenAttention(attention), vector_linear(attention.out)
        self.up, self.down = vector_linear(first_of(network)), vector_linear(network.out)
        self.activation = activation_of(config.feed_forward)
        self.hidden = torch.from_numpy(self.up.buffer)[None]

    def __call__(
        self, x: Float[ndarray, "w"], rotation: Rotation | None, keys: Float[ndarray, "h c d"],
        values: Float[ndarray, "h c d"], position: int,
    ) -> None:  # fmt: skip
        """Add the residual of the block to x; keys and values of this token are cached at position `position`."""
        x += self.out(self.attention(self.attention_norm(x), rotation, keys, values, position))
        self.up(self.feed_forward_norm(x))
        x += self.down(self.activation(self.hidden).numpy()[0])


class TokenAttention:
    """Causal attention of one new position over the cached ones and itself."""

    def __init__(self, attention: Any):
        heads, key_heads = attention.heads, attention.key_heads
        self.qkv, self.scale = VectorLinear(attention.qkv, attention.bias()), np.float32(attention.scale)
        parts = self.qkv.buffer.reshape(-1, attention.head_dim)
        unrotated, self.new_values = parts[: heads + key_heads], parts[heads + key_heads :]
        self.norm = query_norm_of(attention, unrotated) if attention.normed else None
        self.pairs, self.partners = halves(unrotated), halves(unrotated)[:, ::-1]
        self.rotated, self.products = np.empty_like(self.pairs), np.empty_like(self.pairs)
        queries, self.new_keys = np.split(self.rotated.reshape(unrotated.shape), [heads])
        self.queries = queries.reshape(key_heads, -1, attention.head_dim)
        self.query_tensor, self.mixed_tensor = torch.from_numpy(self.queries), torch.empty(self.queries.shape)
        self.mixed = self.mixed_tensor.numpy()

    def __call__(
        self, x: Float[ndarray, "w"], rotation: Rotation | None, keys: Float[ndarray, "h c d"],
        values: Float[ndarray, "h c d"], position: int,
    ) -> Float[ndarray, "i"]:  # fmt: skip
        self.qkv(x)
        if self.norm is not None:
            self.norm()
        if rotation is None:
            self.rotated[:] = self.pairs
        else:
            np.multiply(self.pairs, rotation[0], out=self.rotated)
            self.rotated += np.multiply(self.partners, rotation[1], out=self.products)
        keys[:, position], values[:, position] = self.new_keys, self.new_values
        self.queries *= self.scale
        scores = torch.bmm(self.query_tensor, torch.from_numpy(keys[:, : position + 1]).transpose(1, 2))
        weights = scores.numpy()
        weights -= weights.max(2, keepdims=True)
        np.exp(weights, out=weights)
        torch.bmm(scores, torch.from_numpy(values[:, : position + 1]), out=self.mixed_tensor)
        self.mixed /= weights.sum(2, keepdims=True)
        return self.mixed.reshape(-1)


class VectorLinear:
    """A linear layer for one vector; its result stays in `buffer` until the next call."""

    def __init__(self, layer: nn.Linear, bias: Tensor | None):
        self.matrix = layer.weight.detach()
        self.bias = None if bias is None else bias.detach().numpy()
        self.result = torch.empty(layer.out_features)
        self.buffer = self.result.numpy()

    def __call__(self, x: Float[ndarray, "i"]) -> Float[ndarray, "o"]:
        torch.mv(self.matrix, torch.from_numpy(x), out=self.result)
        if self.bias is not None:
            self.buffer += self.bias
        return self.buffer


def vector_linear(layer: nn.Linear) -> VectorLinear:
    """A linear layer of the stack for one vector."""
    return VectorLinear(layer, layer.bias)


def norm_of(norm: Any) -> Norm:
    """A norm of the stack; its result stays in one buffer until the next call."""
    (width,), eps = norm.weight.shape if norm.weight is not None else norm.normalized_shape, norm.eps
    gain, bias = (None if p is None else p.detach().numpy() for p in (norm.weight, getattr(norm, "bias", None)))
    buffer, centred = np.empty(width, np.float32), isinstance(norm, nn.LayerNorm)

    def normed(x: Float[ndarray, "w"]) -> Float[ndarray, "w"]:
        if centred:
            x = np.subtract(x, np.add.reduce(x) / np.float32(width), out=buffer)
        np.multiply(x, np.float32(1 / math.sqrt(np.dot(x, x) / width + eps)), out=buffer)
        if gain is not None:
            np.multiply(buffer, gain, out=buffer)
        return buffer if bias is None else np.add(buffer, bias, out=buffer)

    return normed


def query_norm_of(attention: Any, x: Float[ndarray, "n d"]) -> Callable[[], None]:
    """The RMS norms of the queries and keys in x, in place."""
    gains, eps = attention.gains().detach().numpy(), np.float32(attention.query_norm.eps)
    width = np.float32(x.shape[1])

    def normed() -> None:
        x[:] *= gains / np.sqrt(np.einsum("nd,nd->n", x, x) / width + eps)[:, None]

    return normed


def halves(x: Float[ndarray, "*n d"]) -> Float[ndarray, "n 2 p"]:
    """The first and the second half of the channels of every vector."""
    return x.reshape(-1, 2, x.shape[-1] // 2)
