"""Slots: rows of a cache that are put, kept, rewound, forked and freed one by one, as works come and go.

Kwon et al. 2023 (vLLM) for the aim; here a slot is one row with room for as many positions as the longest needs, so
that a pass over neighbouring slots reads them where they are.
"""

from collections.abc import Callable

import torch

from kiloword.transformer.cache import KeyValueCache


class Slots:
    """Grows as slots are put. `make(rows, capacity)` gives an empty cache: `Transformer.cache`."""

    def __init__(self, make: Callable[[int, int], KeyValueCache]):
        self._make = make
        self._cache: KeyValueCache | None = None
        self._used: list[bool] = []
        self._views: dict[tuple[int, ...], KeyValueCache] = {}

    @property
    def used(self) -> list[int]:
        """The slots that are somebody's."""
        return [slot for slot, used in enumerate(self._used) if used]

    def lengths(self, slots: list[int]) -> list[int]:
        """How many positions each holds."""
        return [self._held.lengths[slot] for slot in slots]

    def put(self, count: int, capacity: int) -> list[int]:
        """`count` empty slots beside each other, with room for `capacity` positions each."""
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
        """Give slots back; what they held is forgotten."""
        self._mark(slots, False)

    def grow(self, rows: int, capacity: int) -> None:
        """Room for at least so many slots of so many positions each; what is held stays."""
        old = self._cache
        room = (0, 0) if old is None else (len(old.lengths), old.capacity)
        if rows <= room[0] and capacity <= room[1]:
            return
        wanted = max(rows, min(2 * room[0], rows + 8)) if rows > room[0] else room[0]
        cache = self._make(wanted, max(capacity, room[1]))
        if old is not None:
            longest = max(old.lengths)
            for new, held in ((cache.keys, old.keys), (cache.values, old.values)):
                new[:, : room[0], :, :longest] = held[:, :, :, :longest]
            if old.places.table.numel():
                cache.places.held(old.places.table, 0)[: room[0], :longest] = old.places.table[:, :longest]
            cache.hold([*old.lengths, *[0] * (wanted - room[0])])
        self._cache, self._used = cache, [*self._used, *[False] * (wanted - len(self._used))]
        self._views = {}

    def at(self, slots: list[int]) -> KeyValueCache:
        """The cache of these slots as they are now, for one pass; call `keep` afterwards."""
        view = self._views.get(tuple(slots))
        if view is None:
            view = self._views[tuple(slots)] = self._held.rows(slots)
        view.hold(self.lengths(slots))
        return view

    def keep(self, slots: list[int], counts: torch.Tensor) -> None:
        """Of the positions that the last pass over these slots has appended, the first `counts` stay."""
        view = self._views[tuple(slots)]
        view.advance(counts)
        self._set(slots, view.lengths)

    def rewind(self, slots: list[int], lengths: list[int]) -> None:
        """Forget all but the first positions of each slot."""
        for held, wanted in zip(self.lengths(slots), lengths, strict=True):
            if not 0 <= wanted <= held:
                raise ValueError(f"cannot rewind to {wanted} positions: {held} are held")
        self._set(slots, lengths)

    def fork(self, slots: list[int]) -> list[int]:
        """New slots that hold the same."""
        twins = self.put(len(slots), self._held.capacity)
        cache, longest = self._held, max(self.lengths(slots))
        for kept in (cache.keys, cache.values):
            kept[:, twins, :, :longest] = kept[:, slots, :, :longest]
        if cache.places.table.numel():
            cache.places.table[twins, :longest] = cache.places.table[slots, :longest]
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
