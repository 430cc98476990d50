"""The key-value cache, with a separate length for every sequence of the batch.

Pope et al. 2022 (Efficiently Scaling Transformer Inference) for the idea; preallocated, so that no step allocates
memory.
"""

import math
import mmap
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Axes: b batch, q new positions, h key heads, d channels of a head, c cached positions.


@runtime_checkable
class Cache(Protocol):
    """What a transformer needs of a key-value cache."""

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]: ...

    def mask(self, new: Bool[Tensor, "b q q"] | None, count: int) -> Bool[Tensor, "b q c"] | None: ...

    def append_positions(self, positions: Float[Tensor, "b q 4"]) -> Float[Tensor, "b c 4"]: ...

    def cached_context(self, layer: int, context: object, project: Callable[[], Tensor]) -> Tensor: ...

    def advance(self, lengths: Int[Tensor, "b"]) -> None: ...


class KeyValueCache:
    """Buffers of `capacity` positions for each of `batch` sequences; sequence i holds `lengths[i]` of them.

    A forward pass appends its new keys and values behind what is held; `advance` says how many of them stay. Positions
    that are not kept are overwritten by the next pass. Sequences are compact: padding must come last among the new
    positions.
    """

    def __init__(self, layers: int, batch: int, capacity: int, heads: int, head_dim: int):
        self.keys, self.values = (untouched(layers, batch, heads, capacity, head_dim) for _ in range(2))
        self.positions = PositionTable(batch, capacity)
        self._context: object = None
        self._projected: dict[int, Tensor] = {}
        self._numbers = list(range(batch))  # of the sequences, in the whole cache
        self._scattered: Tensor | None = None  # the same where they are not adjacent
        self.hold([0] * batch)

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    def to(self, like: Tensor) -> "KeyValueCache":
        """Move to the device and number format of `like`."""
        self.keys, self.values = self.keys.to(like), self.values.to(like)
        self.hold(self.lengths)
        return self

    def reserve(self, count: int) -> int:
        """Where `count` new positions begin: behind the longest sequence. Raises ValueError if they do not fit."""
        held, capacity = self._longest, self.capacity
        if held + count > capacity:
            raise ValueError(f"the cache has a capacity of {capacity} positions; {held} are held and {count} more come")
        return held

    def append(
        self, layer: int, keys: Float[Tensor, "b h q d"], values: Float[Tensor, "b h q d"]
    ) -> tuple[Float[Tensor, "b h c d"], Float[Tensor, "b h c d"]]:
        """Write new keys and values behind those held; returns all keys and values up to and with the new ones."""
        if self._scattered is not None:
            return self._append_scattered(layer, keys, values)
        new_keys, new_values, all_keys, all_values = self._buffers(keys.shape[2])[layer]
        if self._level:
            new_keys.copy_(keys)
            new_values.copy_(values)
        else:
            batch, positions = self._behind(keys.shape[2])
            self.keys[layer][batch, :, positions] = keys.transpose(1, 2)
            self.values[layer][batch, :, positions] = values.transpose(1, 2)
        return all_keys, all_values

    def _append_scattered(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The same for sequences that are not adjacent in the cache: they are copied."""
        end = self.reserve(keys.shape[2]) + keys.shape[2]
        _, positions = self._behind(keys.shape[2])
        batch = self._scattered
        assert batch is not None
        for held, new in ((self.keys[layer], keys), (self.values[layer], values)):
            held[batch[:, None], :, positions] = new.transpose(1, 2)
        return self.keys[layer][batch, :, :end], self.values[layer][batch, :, :end]

    def mask(self, new: Bool[Tensor, "b q q"] | None, count: int) -> Bool[Tensor, "b q c"] | None:
        """The mask of `count` new positions over all that `append` returns, given the mask among the new ones (None:
        full); None for full attention."""
        if self._level and (new is None or count == 1):
            return None
        offset = torch.arange(self._longest + count, device=self.keys.device) - self._behind(count)[1][:, :1]
        if new is None:
            return (offset < count)[:, None].expand(-1, count, -1)
        allowed = new.gather(2, offset.clamp(0, count - 1)[:, None].expand(-1, count, -1))
        return (offset < 0)[:, None] | ((offset < count)[:, None] & allowed)

    def append_positions(self, positions: Float[Tensor, "b q 4"]) -> Float[Tensor, "b c 4"]:
        """Write the coordinates of new positions behind those held; returns those of all that `append` returns."""
        count = positions.shape[1]
        end = self.reserve(count) + count
        held = self.positions.held(positions, self._longest)
        numbers = torch.tensor(self._numbers, device=positions.device)
        held[numbers[:, None], self._behind(count)[1]] = positions
        return held[numbers, :end]

    def cached_context(self, layer: int, context: object, project: Callable[[], Tensor]) -> Tensor:
        """A layer's cross-attention keys and values [b, ...] of a context: `project` computes them once for each
        context object."""
        if self._context is not context:
            self._context, self._projected = context, {}
        if layer not in self._projected:
            self._projected[layer] = project().detach()
        return self._projected[layer]

    def advance(self, lengths: Int[Tensor, "b"]) -> None:
        """Keep the first `lengths[i]` new positions of sequence i."""
        self.hold([held + new for held, new in zip(self.lengths, lengths.tolist(), strict=True)])

    def select(self, chosen: list[int]) -> "KeyValueCache":
        """A view of some of the sequences, which writes into this cache; its lengths change independently until this
        cache calls `hold`."""
        twin, first, count = object.__new__(KeyValueCache), chosen[0], len(chosen)
        twin.keys, twin.values, twin.positions, twin._numbers = self.keys, self.values, self.positions, list(chosen)
        twin._scattered, twin._context, twin._projected = None, None, {}
        if chosen == list(range(first, first + count)):
            twin.keys, twin.values = (kept.narrow(1, first, count) for kept in (self.keys, self.values))
        else:
            twin._scattered = torch.tensor(chosen, device=self.keys.device)
        twin.hold([self.lengths[number] for number in chosen])
        return twin

    def hold(self, lengths: list[int]) -> None:
        """Set the lengths, and compute once per pass what all layers derive from them."""
        self.lengths = lengths
        self._longest, self._level = max(lengths), min(lengths) == max(lengths)
        self._new_positions: tuple[Tensor, Tensor] | None = None
        self._views: list[tuple[Tensor, ...]] = []

    def _buffers(self, count: int) -> list[tuple[Tensor, ...]]:
        """Views of every layer's keys and values: the `count` positions behind the longest sequence, and all up to
        there."""
        if not self._views or self._views[0][0].shape[2] != count:
            held = self.reserve(count)
            new = [kept.narrow(3, held, count).unbind() for kept in (self.keys, self.values)]
            up_to = [kept.narrow(3, 0, held + count).unbind() for kept in (self.keys, self.values)]
            self._views = list(zip(*new, *up_to, strict=True))
        return self._views

    def _behind(self, count: int) -> tuple[Int[Tensor, "b 1"], Int[Tensor, "b q"]]:
        """The index of each sequence, and the `count` positions behind what it holds."""
        if self._new_positions is None or self._new_positions[1].shape[1] != count:
            device = self.keys.device
            ends = torch.tensor(self.lengths, device=device)[:, None]
            batch = torch.arange(len(ends), device=device)[:, None]
            self._new_positions = batch, ends + torch.arange(count, device=device)
        return self._new_positions


class PositionTable:
    """The coordinates (time, scale, y, x) of all cached positions, kept only for transformers that need them."""

    def __init__(self, batch: int, capacity: int):
        self.shape, self.table = (batch, capacity, 4), torch.empty(0)

    def held(self, like: Tensor, held: int) -> Float[Tensor, "_ _ 4"]:
        """The table, to read and to write; allocated on first use, when nothing is `held` yet."""
        if not self.table.numel():
            assert held == 0, "some positions were appended without their coordinates"
            self.table = like.new_zeros(self.shape)
        return self.table


def untouched(*shape: int) -> Tensor:
    """Zeros whose memory is committed page by page as it is written, in huge pages where the system has them."""
    if not (count := math.prod(shape)):
        return torch.zeros(shape)
    memory = mmap.mmap(-1, count * torch.float32.itemsize)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel built without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float32).view(shape)
