"""Threads are chosen by the size of the work, and spin only briefly unless a person says otherwise."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Thread

import pytest
import torch

import tiny
from kiloword.engine.cpu import threads as module
from kiloword.engine.cpu.threads import (
    COUNTS,
    FIRST,
    POLICY,
    TRAINING,
    WAITING,
    Contention,
    in_threads,
    threads,
    threads_for,
)
from kiloword.engine.drive import draw
from kiloword.noise import Seeded

SMALL, LARGE = (12_000, 2), (300_000, 2)  # weights of a matrix, positions


@pytest.fixture
def two(monkeypatch) -> Iterator[None]:
    """A machine on which torch may use two threads and nobody has chosen a number."""
    for name in COUNTS:
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def told(program: str, **environment: str) -> dict[str, str]:
    """The environment of a new process after a program, which begins with nothing said about threads."""
    names = (*WAITING, POLICY, *COUNTS)
    clean = {name: value for name, value in os.environ.items() if name not in names}
    code = f"{program}; import json, os; print(json.dumps({{n: os.environ.get(n) for n in {names}}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, check=True
    )
    return {name: value for name, value in json.loads(done.stdout.splitlines()[-1]).items() if value is not None}


def test_importing_says_how_to_wait_and_loads_no_torch():
    assert told("import sys, kiloword; assert not {'torch', 'numpy'} & set(sys.modules)") == WAITING


def test_the_command_says_so_too():
    assert told("from kiloword.cli import main; main(['--version'])") == WAITING


def test_training_spins_less_also_where_the_command_was_begun_by_another():
    program = "from kiloword.cli import main; main(['train', 'nowhere'])"
    assert told(program) == TRAINING == told(program, **WAITING)
    assert told(program, OMP_WAIT_POLICY="active") == {"OMP_WAIT_POLICY": "active"}


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "active"}, {"KMP_BLOCKTIME": "7"}, {"GOMP_SPINCOUNT": "100"}])
def test_a_persons_own_way_to_wait_is_left_alone(own):
    assert told("import kiloword", **own) == own


def test_where_torch_came_first_small_work_still_has_one_thread():
    program = "import torch; torch.set_num_threads(2); import kiloword\n"
    program += "from kiloword.engine.cpu.threads import threads\n"
    program += f"with threads{SMALL}: assert torch.get_num_threads() == 1\nassert torch.get_num_threads() == 2\n0"
    assert told(program) == WAITING


def test_the_rule():
    assert threads_for(*SMALL, most=16) == 1
    assert threads_for(*LARGE, most=16) == 16  # the shipped model's pass
    assert threads_for(SMALL[0], 10_000, most=16) == 16  # many positions at once
    assert threads_for(*LARGE, most=1) == 1


@torch.no_grad()
def test_a_driver_chooses_them_for_a_pass_and_gives_them_back(two):
    model = tiny.model("shades", "rows", "categorical")
    seen: list[int] = []
    model.transformer.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    model.train()  # so that the stack itself is asked
    for _ in draw(model, tiny.drawing(model, ["a pear"]), Seeded([0])):
        assert torch.get_num_threads() == 2
    assert set(seen) == {1} and len(seen) == 9


def test_they_are_given_back_after_an_error(two):
    with pytest.raises(RuntimeError), threads(*SMALL):
        raise RuntimeError
    assert torch.get_num_threads() == 2


def test_a_number_in_the_environment_is_a_persons_own(two, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with threads(*SMALL):
        assert torch.get_num_threads() == 2


def test_who_begins_meanwhile_does_not_take_the_small_number_for_torchs_own(two):
    seen = []

    def work() -> None:
        with threads(*LARGE):
            seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    with threads(*SMALL):
        other = Thread(target=work)
        other.start()
        other.join()
    assert seen == [1, 2] and torch.get_num_threads() == 2 and module._held["inside"] == 0


def test_passes_that_wait_leave_one_thread_to_the_next_ones_and_twice_as_many_each_time():
    contention = Contention()

    def counts(passes: int, waits: bool) -> list[int]:
        chosen = []
        for _ in range(passes):
            chosen.append(contention.count(2))
            waited = 0.02 if waits and chosen[-1] == 2 else 0.0
            contention.learn(chosen[-1], 0.01 + waited, 0.01)
        return chosen

    assert counts(3, waits=False) == [2, 2, 2]
    assert counts(1 + FIRST, waits=True) == [2] + [1] * FIRST
    assert counts(1 + 2 * FIRST, waits=True) == [2] + [1] * 2 * FIRST
    assert counts(4, waits=False) == [2, 2, 2, 2]
    assert counts(1 + FIRST, waits=True) == [2] + [1] * FIRST  # back at the first number


def test_one_thread_that_waits_too_goes_on_alone():
    contention = Contention()
    contention.learn(2, 0.03, 0.01)
    for _ in range(5 * FIRST):
        assert contention.count(2) == 1
        contention.learn(1, 0.03, 0.01)
    assert contention.next == 2 * FIRST


def test_short_waits_and_small_shares_say_nothing():
    contention = Contention()
    contention.learn(2, 0.0010, 0.0002)
    contention.learn(2, 0.100, 0.080)
    assert contention.count(2) == 2


def test_a_contended_pass_is_seen_from_its_clocks(two, monkeypatch):
    monkeypatch.setattr(module, "_contention", Contention())
    with threads(*LARGE):
        assert torch.get_num_threads() == 2
        time.sleep(0.01)  # no core, as beside a busy program
    with threads(*LARGE):
        assert torch.get_num_threads() == 1


def test_steps_of_an_iterator_have_all_threads_and_give_them_back(two, monkeypatch):
    monkeypatch.setattr(module, "_contention", Contention())
    monkeypatch.setattr(module, "LATE", math.inf)  # whatever else this machine does meanwhile
    counts = []

    def steps() -> Iterator[int]:
        for step in range(2):
            counts.append(torch.get_num_threads())
            yield step

    torch.set_num_threads(2)
    assert list(in_threads(steps())) == [0, 1] and counts == [2, 2]


def test_those_at_work_at_once_share_the_threads(two, monkeypatch):
    monkeypatch.setattr(module, "_contention", Contention())
    with threads(*LARGE), threads(*LARGE):
        assert torch.get_num_threads() == 1
