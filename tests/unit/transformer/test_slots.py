"""Slots come and go, are rewound and forked, and each holds what was kept in it, whatever happens to the others."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.transformer import KeyValueCache, Slots

LAYERS = 2


def fresh(count: int = 0, capacity: int = 20) -> Slots:
    slots = Slots(lambda batch, capacity: KeyValueCache(LAYERS, batch, capacity, heads=1, head_dim=2))
    if count:
        assert slots.put(count, capacity) == list(range(count))
    return slots


def grow(slots: Slots, chosen: list[int], held: list[list[float]], count: int, keep: list[int], mark: float) -> None:
    """Append `count` positions to the chosen slots in one pass, check all that comes back, keep some."""
    new = mark + torch.arange(len(chosen) * count).view(-1, 1, count, 1).expand(-1, -1, -1, 2) / 100
    cache = slots.at(chosen)
    assert cache.lengths == [len(values) for values in held]
    for layer in range(LAYERS):
        keys, values = cache.append(layer, new + layer, -new - layer)
        assert (values == -keys).all()
        for i, had in enumerate(held):
            wanted = torch.tensor(had + new[i, 0, :, 0].tolist()) + layer
            assert torch.allclose(keys[i, 0, : len(wanted), 0], wanted)
    mask = cache.mask(None, count)
    for i, had in enumerate(held):
        allowed = mask[i] if mask is not None else torch.ones(count, len(had) + count, dtype=torch.bool)
        assert (allowed == (torch.arange(allowed.shape[1]) < len(had) + count)).all()
        had += new[i, 0, : keep[i], 0].tolist()
    slots.keep(chosen, torch.tensor(keep))
    assert slots.lengths(chosen) == [len(values) for values in held]


def holds(slots: Slots, slot: int, held: list[float]) -> None:
    """Check what is held, without keeping any more of it."""
    grow(slots, [slot], [list(held)], 1, [0], 9.0)


LENGTHS = st.lists(st.integers(0, 3), min_size=3, max_size=3)


@given(st.lists(st.tuples(LENGTHS, LENGTHS), min_size=1, max_size=4), st.permutations(range(4)))
def test_slots_keep_separate_lengths_through_appending_and_rewinding(moves, order):
    slots, chosen, held = fresh(4, capacity=40), list(order[:3]), [[] for _ in range(3)]
    for mark, (keep, back) in enumerate(moves, start=1):
        grow(slots, chosen, held, 3, keep, float(mark))
        held = [values[: max(0, len(values) - less)] for values, less in zip(held, back, strict=True)]
        slots.rewind(chosen, [len(values) for values in held])
        assert slots.lengths(chosen) == [len(values) for values in held] and slots.lengths([order[3]]) == [0]
    for slot, values in zip(chosen, held, strict=True):
        holds(slots, slot, values)


@given(LENGTHS, st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_a_fork_is_a_copy_of_its_slots_and_leaves_the_first_alone(keep, which):
    slots, held = fresh(3), [[] for _ in range(3)]
    grow(slots, [0, 1, 2], held, 3, keep, 1.0)
    twins = slots.fork(which)
    assert not set(twins) & {0, 1, 2} and slots.lengths(twins) == [keep[slot] for slot in which]
    copies = [list(held[slot]) for slot in which]
    grow(slots, twins, copies, 2, [2] * 3, 7.0)
    grow(slots, [0, 1, 2], held, 1, [1] * 3, 3.0)
    for slot, values in zip([0, 1, 2, *twins], [*held, *copies], strict=True):
        holds(slots, slot, values)


WHAT = st.sampled_from(["put", "free", "grow", "fork", "pass", "pass"])
MOVES = st.lists(st.tuples(WHAT, st.integers(0, 99)), max_size=12)


@given(MOVES)
def test_whoever_comes_and_goes_the_others_hold_what_they_held(moves):
    slots, held, mark = fresh(), dict[int, list[float]](), 0.0
    for what, number in moves:
        there, mark = sorted(held), mark + 1
        some = [slot for k, slot in enumerate(there) if number >> (k % 6) & 1]
        if what == "put":
            held |= {slot: [] for slot in slots.put(1 + number % 3, 8 + number % 20)}
        elif what == "free" and some:
            slots.free(some)
            held = {slot: values for slot, values in held.items() if slot not in some}
        elif what == "grow" and there:
            slots.grow(len(there) + number % 4, 10 + number % 30)
        elif what == "fork" and some:
            held |= {twin: list(held[slot]) for slot, twin in zip(some, slots.fork(some), strict=True)}
        elif what == "pass" and some and all(len(held[slot]) < 6 for slot in some):
            chosen = [held[slot] for slot in some]
            grow(slots, some, chosen, 2, [number % 3] * len(some), mark)
        assert slots.used == sorted(held)
    for slot, values in held.items():
        holds(slots, slot, values)


def test_slots_that_are_put_together_lie_beside_each_other():
    slots = fresh(5)
    slots.free([1, 3])
    assert slots.put(1, 20) == [1] and slots.put(2, 20) == [5, 6] and slots.used == [0, 1, 2, 4, 5, 6]
    slots.free([2])
    assert slots.put(2, 20) == [2, 3]


def test_a_slot_that_is_freed_holds_nothing_when_it_is_put_again():
    slots, held = fresh(2), [[], []]
    grow(slots, [0, 1], held, 3, [3, 2], 1.0)
    slots.free([0])
    assert slots.put(1, 20) == [0] and slots.lengths([0, 1]) == [0, 2]
    grow(slots, [0, 1], [[], held[1]], 2, [1, 1], 5.0)


def test_more_capacity_for_one_is_capacity_for_all_and_loses_nothing():
    slots, held = fresh(2, capacity=4), [[], []]
    grow(slots, [0, 1], held, 3, [3, 2], 1.0)
    assert slots.put(1, 30) == [2] and slots.at([0]).capacity == 30
    grow(slots, [0, 1], held, 6, [6, 6], 2.0)
    grow(slots, [0, 2], [held[0], []], 1, [1, 1], 3.0)


def test_coordinates_of_positions_are_forked_and_grow_with_them():
    slots, here = fresh(2, capacity=3), torch.randn(2, 2, 4)
    cache = slots.at([0, 1])
    cache.append_positions(here)
    cache.append(0, torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2))
    slots.keep([0, 1], torch.tensor([2, 1]))
    (twin,), new = slots.fork([0]), torch.randn(3, 1, 4)
    slots.grow(6, 9)
    found = slots.at([1, twin, 0]).append_positions(new)
    for i, before in enumerate((here[1, :1], here[0], here[0])):
        assert torch.equal(found[i, : len(before) + 1], torch.cat([before, new[i]]))


def test_too_much_is_refused_with_numbers():
    slots = fresh(3)
    grow(slots, [0, 1, 2], [[], [], []], 3, [1, 3, 2], 1.0)
    with pytest.raises(ValueError, match="rewind to 2 positions: 1 are held"):
        slots.rewind([0, 1, 2], [2, 3, 2])
    assert slots.lengths([0, 1, 2]) == [1, 3, 2]
    with pytest.raises(AssertionError, match="no slot was ever put"):
        fresh().lengths([0])
    slots.free([1])
    with pytest.raises(AssertionError, match="slot 1 is free already"):
        slots.free([1])
