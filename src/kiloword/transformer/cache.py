"""The cache of keys and values that were computed before, with a length of its own for every row.

Pope et al. 2022 (Efficiently Scaling Transformer Inference) for the idea; preallocated, so that nothing grows.
"""

import math
import mmap
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Axes: b rows of the batch, q new places, h key heads, d channels of a head, c places held.


@runtime_checkable
class Cache(Protocol):
    """What a transformer needs of a cache."""

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]: ...

    def mask(self, new: Bool[Tensor, "b q q"] | None, count: int) -> Bool[Tensor, "b q c"] | None: ...

    def place(self, positions: Float[Tensor, "b q 4"]) -> Float[Tensor, "b c 4"]: ...

    def cached_context(self, layer: int, read: Callable[[], Tensor]) -> Tensor: ...

    def advance(self, lengths: Int[Tensor, "b"]) -> None: ...

    def rewind(self, lengths: Int[Tensor, "b"]) -> None: ...

    def fork(self, rows: Int[Tensor, "b2"]) -> "Cache": ...


class KeyValueCache:
    """Room for `capacity` places a row; row r holds `lengths[r]` of them.

    A forward pass appends its new keys behind what is held; `advance` says how many of them stay. Places that are
    not kept are overwritten by the next pass. Rows are compact: absent places must stand last among the new ones.
    """

    def __init__(self, layers: int, rows: int, capacity: int, heads: int, head_dim: int):
        self.keys, self.values = (untouched(layers, rows, heads, capacity, head_dim) for _ in range(2))
        self.positions: Tensor | None = None  # kept only for transformers that ask for them
        self.cached_contexts: dict[int, Tensor] = {}
        self._hold([0] * rows)

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    def to(self, like: Tensor) -> "KeyValueCache":
        """Move to the device and number format of `like`."""
        self.keys, self.values = self.keys.to(like), self.values.to(like)
        self._hold(self.lengths)
        return self

    def reserve(self, count: int) -> int:
        """Where `count` new places begin, which is behind the longest row. Raises ValueError if there is no room."""
        held, room = self._longest, self.capacity
        if held + count > room:
            raise ValueError(f"the cache has room for {room} places; {held} are held and {count} more come")
        return held

    def append(
        self, layer: int, keys: Float[Tensor, "b h q d"], values: Float[Tensor, "b h q d"]
    ) -> tuple[Float[Tensor, "b h c d"], Float[Tensor, "b h c d"]]:
        """Write new keys and values behind those held; all that a query may look at."""
        new_keys, new_values, all_keys, all_values = self._rooms(keys.shape[2])[layer]
        if self._level:
            new_keys.copy_(keys)
            new_values.copy_(values)
        else:
            rows, places = self._behind(keys.shape[2])
            self.keys[layer][rows, :, places] = keys.transpose(1, 2)
            self.values[layer][rows, :, places] = values.transpose(1, 2)
        return all_keys, all_values

    def mask(self, new: Bool[Tensor, "b q q"] | None, count: int) -> Bool[Tensor, "b q c"] | None:
        """Who of `count` new places attends to what `append` returns, given how the new ones see each other."""
        if self._level and (new is None or count == 1):
            return None
        place = torch.arange(self._longest + count, device=self.keys.device) - self._behind(count)[1][:, :1]
        if new is None:
            return (place < count)[:, None].expand(-1, count, -1)
        seen = new.gather(2, place.clamp(0, count - 1)[:, None].expand(-1, count, -1))
        return (place < 0)[:, None] | ((place < count)[:, None] & seen)

    def place(self, positions: Float[Tensor, "b q 4"]) -> Float[Tensor, "b c 4"]:
        """Write where new places sit behind where those held do; the same of all that `append` returns."""
        if self.positions is None:
            assert self._longest == 0, "some places were appended without saying where they sit"
            self.positions = positions.new_zeros(len(self.lengths), self.capacity, 4)
        count = positions.shape[1]
        self._rooms(count)  # refuses too many
        rows, places = self._behind(count)
        self.positions[rows, places] = positions
        return self.positions[:, : self._longest + count]

    def cached_context(self, layer: int, read: Callable[[], Tensor]) -> Tensor:
        """What a layer has read of the context [b, ...], which stays the same: it is read once."""
        if layer not in self.cached_contexts:
            self.cached_contexts[layer] = read().detach()
        return self.cached_contexts[layer]

    def advance(self, lengths: Int[Tensor, "b"]) -> None:
        """Keep the first `lengths[r]` new places of row r."""
        self._hold([held + new for held, new in zip(self.lengths, lengths.tolist(), strict=True)])

    def rewind(self, lengths: Int[Tensor, "b"]) -> None:
        """Forget all but the first `lengths[r]` places of row r."""
        for held, wanted in zip(self.lengths, lengths.tolist(), strict=True):
            if not 0 <= wanted <= held:
                raise ValueError(f"cannot rewind to {wanted} places: {held} are held")
        self._hold(lengths.tolist())

    def fork(self, rows: Int[Tensor, "b2"]) -> "KeyValueCache":
        """A cache of its own whose rows are copies of these rows."""
        twin = object.__new__(KeyValueCache)
        twin.keys, twin.values = self.keys[:, rows].clone(), self.values[:, rows].clone()
        twin.positions = None if self.positions is None else self.positions[rows]
        twin.cached_contexts = {layer: told[rows] for layer, told in self.cached_contexts.items()}
        twin._hold([self.lengths[row] for row in rows.tolist()])
        return twin

    def _hold(self, lengths: list[int]) -> None:
        """What a pass asks of the lengths in every layer is worked out once, here."""
        self.lengths = lengths
        self._longest, self._level = max(lengths), min(lengths) == max(lengths)
        self._places: tuple[Tensor, Tensor] | None = None
        self._room: list[tuple[Tensor, ...]] = []

    def _rooms(self, count: int) -> list[tuple[Tensor, ...]]:
        """Views of every layer: the `count` places behind the longest row, and all up to there, of keys and values."""
        if not self._room or self._room[0][0].shape[2] != count:
            held = self.reserve(count)
            new = [kept.narrow(3, held, count).unbind() for kept in (self.keys, self.values)]
            up_to = [kept.narrow(3, 0, held + count).unbind() for kept in (self.keys, self.values)]
            self._room = list(zip(*new, *up_to, strict=True))
        return self._room

    def _behind(self, count: int) -> tuple[Int[Tensor, "b 1"], Int[Tensor, "b q"]]:
        """The numbers of the rows, and the `count` places behind what each of them holds."""
        if self._places is None or self._places[1].shape[1] != count:
            device = self.keys.device
            ends = torch.tensor(self.lengths, device=device)[:, None]
            self._places = torch.arange(len(ends), device=device)[:, None], ends + torch.arange(count, device=device)
        return self._places


def untouched(*shape: int) -> Tensor:
    """Zeros of which the system gives a page only when something is written to it, a large one where it has such."""
    if not (count := math.prod(shape)):
        return torch.zeros(shape)
    memory = mmap.mmap(-1, count * torch.float32.itemsize)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel built without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float32).view(shape)
