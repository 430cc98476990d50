"""Single token: a stack for steps of a single row, in which calling takes longer than counting: small vectors by NumPy.

A call of NumPy takes a third of the time of one of PyTorch (no derivative could be asked for). Products are PyTorch's
all the same: NumPy's BLAS has threads of its own, which spin and which nobody here could choose. What is worked out is
written into rooms made once; the numbers are those of the stack.
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

# Axes: w width, i inputs, o outputs, n vectors, d channels of a head, p = d / 2, h key heads, c places that the cache
# has room for.

Norm = Callable[[ndarray], ndarray]
Turn = tuple[Float[ndarray, "1 2 p"], Float[ndarray, "1 2 p"]]


def single_token(stack: Stack) -> "SingleToken | None":
    """The stack for steps of one row; None if it has parts that are not known here, or is not float32 on a CPU."""
    query_norm = stack.config.attention.query_norm
    known = not stack.modulated and (query_norm is None or isinstance(query_norm, RMSNormConfig))
    plain = all(p.dtype is torch.float32 and p.device.type == "cpu" for p in stack.parameters())
    return SingleToken(stack) if known and plain else None


class SingleToken:
    """A stack for one token a step. It takes the weights when it is made: make a new one if they change."""

    def __init__(self, stack: Stack):
        self.blocks = [RowBlock(stack.config, block) for block in stack.blocks]
        self.norm = norm_of(stack.norm)

    def __call__(
        self, vector: Float[Tensor, "1 1 w"], angles: tuple[Tensor, Tensor] | None, cache: KeyValueCache
    ) -> Float[Tensor, "1 1 w"]:
        """The hidden vector of a token that follows all cached ones. Raises ValueError if the cache is full."""
        x, place = vector.flatten().numpy().copy(), cache.reserve(1)
        turn = None if angles is None else (halves(angles[0].numpy()), halves(angles[1].numpy()))
        keys, values = cache.keys.numpy()[:, 0], cache.values.numpy()[:, 0]
        for layer, block in enumerate(self.blocks):
            block(x, turn, keys[layer], values[layer], place)
        return torch.from_numpy(self.norm(x).copy()).view_as(vector)


class RowBlock:
    """One block of the stack."""

    def __init__(self, config: StackConfig, block: Any):
        attention, network = block.attention, block.feed_forward
        self.norm, self.thought_norm = norm_of(block.attention_norm), norm_of(block.feed_forward_norm)
        self.attend, self.out = RowAttention(attention), times(attention.out)
        self.enter, self.down = times(first_of(network)), times(network.out)
        self.activation = activation_of(config.feed_forward)
        self.entered = torch.from_numpy(self.enter.room)[None]

    def __call__(
        self, x: Float[ndarray, "w"], turn: Turn | None, keys: Float[ndarray, "h c d"],
        values: Float[ndarray, "h c d"], place: int,
    ) -> None:  # fmt: skip
        """Add the residual of the block to x; keys and values of this token are cached at position `place`."""
        x += self.out(self.attend(self.norm(x), turn, keys, values, place))
        self.enter(self.thought_norm(x))
        x += self.down(self.activation(self.entered).numpy()[0])


class RowAttention:
    """Attention of the queries of one position over all positions up to its own."""

    def __init__(self, attention: Any):
        heads, key_heads = attention.heads, attention.key_heads
        self.qkv, self.scale = Times(attention.qkv, attention.bias()), np.float32(attention.scale)
        parts = self.qkv.room.reshape(-1, attention.head_dim)
        turning, self.new_values = parts[: heads + key_heads], parts[heads + key_heads :]
        self.norm = query_norm_of(attention, turning) if attention.normed else None
        self.pairs, self.partners = halves(turning), halves(turning)[:, ::-1]
        self.turned, self.rest = np.empty_like(self.pairs), np.empty_like(self.pairs)
        queries, self.new_keys = np.split(self.turned.reshape(turning.shape), [heads])
        self.queries = queries.reshape(key_heads, -1, attention.head_dim)
        self.asking, self.attended = torch.from_numpy(self.queries), torch.empty(self.queries.shape)
        self.mixed = self.attended.numpy()

    def __call__(
        self, x: Float[ndarray, "w"], turn: Turn | None, keys: Float[ndarray, "h c d"],
        values: Float[ndarray, "h c d"], place: int,
    ) -> Float[ndarray, "i"]:  # fmt: skip
        self.qkv(x)
        if self.norm is not None:
            self.norm()
        if turn is None:
            self.turned[:] = self.pairs
        else:
            np.multiply(self.pairs, turn[0], out=self.turned)
            self.turned += np.multiply(self.partners, turn[1], out=self.rest)
        keys[:, place], values[:, place] = self.new_keys, self.new_values
        self.queries *= self.scale
        share = torch.bmm(self.asking, torch.from_numpy(keys[:, : place + 1]).transpose(1, 2))
        weights = share.numpy()
        weights -= weights.max(2, keepdims=True)
        np.exp(weights, out=weights)
        torch.bmm(share, torch.from_numpy(values[:, : place + 1]), out=self.attended)
        self.mixed /= weights.sum(2, keepdims=True)
        return self.mixed.reshape(-1)


class Times:
    """A linear layer for one vector; its result is in its `room` until it is called again."""

    def __init__(self, layer: nn.Linear, bias: Tensor | None):
        self.matrix = layer.weight.detach()
        self.bias = None if bias is None else bias.detach().numpy()
        self.result = torch.empty(layer.out_features)
        self.room = self.result.numpy()

    def __call__(self, x: Float[ndarray, "i"]) -> Float[ndarray, "o"]:
        torch.mv(self.matrix, torch.from_numpy(x), out=self.result)
        if self.bias is not None:
            self.room += self.bias
        return self.room


def times(layer: nn.Linear) -> Times:
    """A linear layer with its own bias."""
    return Times(layer, layer.bias)


def norm_of(norm: Any) -> Norm:
    """A norm of the stack; its result is in a room that the next call writes to."""
    (width,), eps = norm.weight.shape if norm.weight is not None else norm.normalized_shape, norm.eps
    gain, bias = (None if p is None else p.detach().numpy() for p in (norm.weight, getattr(norm, "bias", None)))
    room, centred = np.empty(width, np.float32), isinstance(norm, nn.LayerNorm)

    def normed(x: Float[ndarray, "w"]) -> Float[ndarray, "w"]:
        if centred:
            x = np.subtract(x, np.add.reduce(x) / np.float32(width), out=room)
        np.multiply(x, np.float32(1 / math.sqrt(np.dot(x, x) / width + eps)), out=room)
        if gain is not None:
            np.multiply(room, gain, out=room)
        return room if bias is None else np.add(room, bias, out=room)

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
