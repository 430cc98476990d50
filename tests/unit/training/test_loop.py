"""The loop: the same steps in one go as in several, in one process as in two, in one piece as in many."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

import learning
import two_processes
from kiloword.training.loop import Run, TrainingConfig
from kiloword.training.optimiser import AdamWConfig, schedule

PROGRAM = [sys.executable, learning.__file__]


def losses(folder: Path) -> dict[int, dict]:
    """The figures of every iteration; of one that was made twice, the last."""
    lines = (folder / "losses.jsonl").read_text().splitlines()
    figures = [json.loads(line) for line in lines]
    return {line.pop("iteration"): {k: v for k, v in line.items() if k != "rate"} for line in figures if "loss" in line}


def trained(folder: Path, iterations: int, **changes) -> Run:
    run = learning.start(folder, iterations, **changes)
    run.train()
    return run


def same(first: Run, second: Run) -> bool:
    a, b = first.module.state_dict(), second.module.state_dict()
    averages = all(torch.equal(first.average[name], second.average[name]) for name in a)
    return averages and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimiser", learning.OPTIMISERS)
def test_a_resumed_run_makes_the_same_steps_bit_for_bit(tmp_path, optimiser):
    whole = trained(tmp_path / "whole", 6, optimiser=optimiser)
    first = learning.start(tmp_path / "parts", 6, optimiser=optimiser)
    while first.iteration < 3:  # what `train` does, up to the third iteration
        first._step()
        first.iteration += 1
    first.save()
    second = learning.start(tmp_path / "parts", 6, optimiser=optimiser)
    assert second.iteration == 3
    second.train()
    assert same(whole, second)
    assert {i: f for i, f in losses(tmp_path / "whole").items() if i > 3} == losses(tmp_path / "parts")


def test_ctrl_c_saves_and_passes_on(tmp_path):
    run = learning.start(tmp_path / "parts", 6)

    def stop(iteration: int, figures: dict) -> None:
        if iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.train(stop)
    again = learning.start(tmp_path / "parts", 6)
    assert again.iteration == 3
    again.train()
    assert same(again, trained(tmp_path / "whole", 6))


def test_ctrl_c_in_the_middle_of_a_step_saves_no_half_step(tmp_path, monkeypatch):
    run = learning.start(tmp_path / "parts", 6)

    def stop() -> None:
        if run.iteration == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(run, "_update_average", stop)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert learning.start(tmp_path / "parts", 6).iteration == 2


def test_a_finished_run_stays_as_it_is(tmp_path):
    first = trained(tmp_path, 3)
    assert same(first, trained(tmp_path, 3))
    assert len(losses(tmp_path)) == 3


def test_looking_changes_nothing_that_is_learned(tmp_path):
    blind, looking = trained(tmp_path / "blind", 4), trained(tmp_path / "looking", 4, look_every=2)
    wanted, found = blind.module.state_dict(), looking.module.state_dict()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted if name != "seen")
    lines = [json.loads(line) for line in (tmp_path / "looking" / "losses.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "judged" in line] == [2, 4]
    assert looking.look()["judged"] == lines[-1]["judged"]


def test_it_learns_and_the_average_follows(tmp_path):
    run = trained(tmp_path, 60, batch=32, dropout=0.0, average=0.9)
    found = losses(tmp_path)
    assert found[60]["loss"] < 0.7 * found[1]["loss"]
    distance = [(run.average[name] - value).abs().max() for name, value in run.module.named_parameters()]
    assert 0 < max(distance) < 0.1


def test_a_task_hears_how_far_its_training_is(tmp_path):
    run = trained(tmp_path, 4, accumulate=2)
    assert run.task.shares_done == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


@pytest.mark.parametrize("accumulate", [2, 4])
def test_a_batch_in_pieces_is_the_batch_in_one(tmp_path, accumulate):
    whole = trained(tmp_path / "whole", 5, dropout=0.0)
    parts = trained(tmp_path / "parts", 5, dropout=0.0, accumulate=accumulate)
    for (name, wanted), found in zip(whole.module.named_parameters(), parts.module.parameters(), strict=True):
        assert torch.allclose(wanted, found, atol=1e-5), name
    for wanted, found in zip(losses(tmp_path / "whole").values(), losses(tmp_path / "parts").values(), strict=True):
        assert [found["loss"], found["gradient"]] == pytest.approx([wanted["loss"], wanted["gradient"]], abs=1e-4)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_run_goes_on_where_it_last_saved(tmp_path):
    """SIGKILL in the middle of training: the state on disk is whole, and what follows is as if nothing had happened."""
    killed = subprocess.run([*PROGRAM, str(tmp_path / "killed"), "8", "auto", "5", "muon"])
    assert killed.returncode == -signal.SIGKILL
    run = learning.start(tmp_path / "killed", 8)
    assert run.iteration == 4
    run.train()
    assert same(run, trained(tmp_path / "whole", 8))
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def in_two(folder: Path, iterations: int, strategy: str, interrupt: int | None = None) -> list[int]:
    """Train in two processes on this machine: their exit codes. One gets Ctrl-C after iteration `interrupt`."""
    with two_processes.started([*PROGRAM, str(folder), str(iterations), strategy, "0", "muon"]) as both:
        while interrupt is not None and both[0].poll() is None:
            if (folder / "losses.jsonl").exists() and max(losses(folder), default=0) >= interrupt:
                both[1].send_signal(signal.SIGINT)
                break
            time.sleep(0.05)
        return [process.wait(timeout=300) for process in both]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_make_the_steps_of_one(tmp_path, strategy):
    one = trained(tmp_path / "one", 5, dropout=0.0)
    assert in_two(tmp_path / "two", 5, strategy) == [0, 0]
    assert bool(list((tmp_path / "two").glob("state-*"))) == (strategy == "fsdp")
    two = learning.start(tmp_path / "two", 5)  # one process reads what two have written
    assert two.iteration == 5
    for (name, wanted), found in zip(one.module.named_parameters(), two.module.parameters(), strict=True):
        assert torch.allclose(wanted, found, atol=1e-4), name
        assert torch.allclose(one.average[name], two.average[name], atol=1e-4), name
    for first, second in zip(one.optimisers, two.optimisers, strict=True):
        wanted, found = first.state_dict()["state"], second.state_dict()["state"]
        assert wanted.keys() == found.keys()
        for index, held in wanted.items():
            assert held.keys() == found[index].keys()
            for key, value in held.items():
                assert torch.allclose(torch.as_tensor(value), torch.as_tensor(found[index][key]), atol=1e-4), key
    for wanted, found in zip(losses(tmp_path / "one").values(), losses(tmp_path / "two").values(), strict=True):
        assert [found["loss"], found["gradient"]] == pytest.approx([wanted["loss"], wanted["gradient"]], abs=1e-4)


def test_split_weights_go_on_from_a_state_in_one_file(tmp_path):
    whole = trained(tmp_path / "whole", 6, dropout=0.0)
    run = learning.start(tmp_path / "parts", 6, dropout=0.0)
    while run.iteration < 3:
        run._step()
        run.iteration += 1
    run.save()
    assert in_two(tmp_path / "parts", 6, "fsdp") == [0, 0]
    assert not (tmp_path / "parts" / "state.safetensors").exists()
    again = learning.start(tmp_path / "parts", 6)
    assert again.iteration == 6
    for (name, wanted), found in zip(whole.module.named_parameters(), again.module.parameters(), strict=True):
        assert torch.allclose(wanted, found, atol=1e-4), name
    again.save()
    assert (tmp_path / "parts" / "state.safetensors").exists() and not list((tmp_path / "parts").glob("state-*"))


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_in_one_process_stops_all_after_the_same_iteration(tmp_path):
    codes = in_two(tmp_path, 100_000, "fsdp", interrupt=3)
    assert all(codes)
    run = learning.start(tmp_path, 100_000)
    assert run.iteration == max(losses(tmp_path)) < 100_000


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path):
    class Three(Fabric):
        world_size = 3

    with pytest.raises(ValueError, match="batch 8 is not a multiple of 3 processes x accumulate 1"):
        learning.start(tmp_path, 1, fabric=Three(accelerator="cpu", devices=1))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="batch 6 is not a multiple of accumulate 4"):
        TrainingConfig(10, batch=6, accumulate=4)
    with pytest.raises(ValueError, match="start at 1"):
        TrainingConfig(0)


def test_the_rate_warms_up_and_falls_to_a_fiftieth():
    shares = [schedule(iteration, 100, 10) for iteration in range(101)]
    assert shares[0] == 0.1 and max(shares) == shares[10] == 1 and shares[100] == pytest.approx(0.02)
    assert shares[10:] == sorted(shares[10:], reverse=True)


def test_only_matrices_decay():
    module = learning.Curve().module
    (optimiser,) = AdamWConfig(weight_decay=0.3).build(module)
    for group in optimiser.param_groups:
        assert group["weight_decay"] == (0.3 if group["params"][0].ndim == 2 else 0.0)
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(module.parameters()))
