"""Slots: sequences of a cache that are allocated, rewound, forked and freed one by one, as requests come and go.

Kwon et al. 2023 (vLLM) for the aim; here every slot is one sequence with the capacity that the longest needs, so that
a pass over adjacent slots reads them without a copy.
"""

from collections.abc import Callable

import torch

from kiloword.transformer.cache import KeyValueCache


class Slots:
    """A cache that grows as slots are put. `make(batch, capacity)` gives an empty cache: `Transformer.cache`."""

    def __init__(self, make: Callable[[int, int], KeyValueCache]):
        self._make = make
        self._cache: KeyValueCache | None = None
        self._used: list[bool] = []
        self._views: dict[tuple[int, ...], KeyValueCache] = {}

    @property
    def used(self) -> list[int]:
        """The slots in use."""
        return [slot for slot, used in enumerate(self._used) if used]

    def lengths(self, slots: list[int]) -> list[int]:
        """How many positions each slot holds."""
        return [self._held.lengths[slot] for slot in slots]

    def put(self, count: int, capacity: int) -> list[int]:
        """Allocate `count` adjacent empty slots of `capacity` positions each."""
        first, free = 0, 0
        for slot, used in enumerate(self._used):
            first, free = (slot + 1, 0) if used else (first, free + 1)
            if free == count:
                break
        first = first if free == count else len(self._used) - free
        self.grow(first + count, capacity)
        slots = list(range(first, first + count))
        self._mark(slots, True)
        return slots

    def free(self, slots: list[int]) -> None:
        """Give slots back; their contents are dropped."""
        self._mark(slots, False)

    def grow(self, count: int, capacity: int) -> None:
        """Enlarge the cache to at least `count` slots of `capacity` positions each; contents stay."""
        old = self._cache
        slots, positions = (0, 0) if old is None else (len(old.lengths), old.capacity)
        if count <= slots and capacity <= positions:
            return
        wanted = max(count, min(2 * slots, count + 8)) if count > slots else slots
        cache = self._make(wanted, max(capacity, positions))
        if old is not None:
            longest = max(old.lengths)
            for new, held in ((cache.keys, old.keys), (cache.values, old.values)):
                new[:, :slots, :, :longest] = held[:, :, :, :longest]
            if old.positions.table.numel():
                cache.positions.held(old.positions.table, 0)[:slots, :longest] = old.positions.table[:, :longest]
            cache.hold([*old.lengths, *[0] * (wanted - slots)])
        self._cache, self._used = cache, [*self._used, *[False] * (wanted - len(self._used))]
        self._views = {}

    def at(self, slots: list[int]) -> KeyValueCache:
        """The cache of these slots as they are now, for one pass; call `keep` afterwards."""
        view = self._views.get(tuple(slots))
        if view is None:
            view = self._views[tuple(slots)] = self._held.select(slots)
        view.hold(self.lengths(slots))
        return view

    def keep(self, slots: list[int], counts: torch.Tensor) -> None:
        """Keep the first `counts` of the positions that the last pass over these slots appended."""
        view = self._views[tuple(slots)]
        view.advance(counts)
        self._set(slots, view.lengths)

    def rewind(self, slots: list[int], lengths: list[int]) -> None:
        """Drop all but the first `lengths` positions of the slots. Raises ValueError if fewer are held."""
        for held, wanted in zip(self.lengths(slots), lengths, strict=True):
            if not 0 <= wanted <= held:
                raise ValueError(f"cannot rewind to {wanted} positions: {held} are held")
        self._set(slots, lengths)

    def fork(self, slots: list[int]) -> list[int]:
        """Copies of these slots, in new ones."""
        twins = self.put(len(slots), self._held.capacity)
        cache, longest = self._held, max(self.lengths(slots))
        for kept in (cache.keys, cache.values):
            kept[:, twins, :, :longest] = kept[:, slots, :, :longest]
        if cache.positions.table.numel():
            cache.positions.table[twins, :longest] = cache.positions.table[slots, :longest]
        self._set(twins, self.lengths(slots))
        return twins

    @property
    def _held(self) -> KeyValueCache:
        assert self._cache is not None, "no slot was ever put"
        return self._cache

    def _mark(self, slots: list[int], used: bool) -> None:
        for slot in slots:
            assert self._used[slot] != used, f"slot {slot} is {'taken' if used else 'free'} already"
            self._used[slot] = used
        self._set(slots, [0] * len(slots))
        self._views = {view: cache for view, cache in self._views.items() if not set(view) & set(slots)}

    def _set(self, slots: list[int], lengths: list[int]) -> None:
        held = list(self._held.lengths)
        for slot, length in zip(slots, lengths, strict=True):
            held[slot] = length
        self._held.hold(held)
