"""The state of a run: all of it comes back, and what is broken or foreign is refused, never half loaded."""

import os

import pytest
import torch
from torch import nn

import learning
from kiloword.training.loop import Run
from kiloword.training.state import load_state, save_state


@pytest.fixture
def run(tmp_path) -> Run:
    run = learning.start(tmp_path, 3)
    run.train()
    return run


def remembered(run: Run) -> list:
    return [optimiser.state_dict()["state"] for optimiser in run.optimisers]


def test_all_of_it_comes_back(run, tmp_path):
    again = learning.start(tmp_path, 3)
    assert again.iteration == 3
    for name, value in run.module.state_dict().items():
        assert torch.equal(again.module.state_dict()[name], value)
        assert torch.equal(again.average[name], run.average[name])
    for wanted, found in zip(remembered(run), remembered(again), strict=True):
        assert wanted.keys() == found.keys()
        for index, held in wanted.items():
            assert held.keys() == found[index].keys()
            assert all(torch.equal(torch.as_tensor(held[key]), torch.as_tensor(found[index][key])) for key in held)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused_and_named(run, tmp_path, share):
    whole = run.state.read_bytes()
    run.state.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=r"state.safetensors is not a whole training state .*remove it"):
        learning.start(tmp_path, 3)


def test_a_run_killed_while_it_writes_leaves_the_old_state(run, tmp_path, monkeypatch):
    before = run.state.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    run.iteration = 99
    with pytest.raises(KeyboardInterrupt):
        run.save()
    monkeypatch.undo()
    assert run.state.read_bytes() == before
    assert learning.start(tmp_path, 3).iteration == 3


def test_the_state_of_another_model_is_refused(run, tmp_path):
    other = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="belongs to another model"):
        load_state(run.state, other, dict(other.state_dict()), [])


def test_another_format_is_refused(tmp_path):
    module = nn.Linear(2, 2)
    save_state(tmp_path / "state", module, {}, [], {"format": 7})
    with pytest.raises(ValueError, match="format 7; this kiloword reads format 1"):
        load_state(tmp_path / "state", module, {}, [])


def test_weights_that_lie_across_are_written(tmp_path):
    module = nn.Linear(3, 3, bias=False)
    module.weight = nn.Parameter(torch.arange(9.0).view(3, 3).T)
    save_state(tmp_path / "state", module, dict(module.state_dict()), [], {"iteration": 4})
    wanted = module.weight.detach().clone()
    average = {"weight": torch.zeros(3, 3)}
    nn.init.zeros_(module.weight)
    assert load_state(tmp_path / "state", module, average, [])["iteration"] == 4
    assert torch.equal(module.weight, wanted) and torch.equal(average["weight"], wanted)


def test_weights_that_two_parts_share_are_written(tmp_path):
    module = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    module[1].weight = module[0].weight
    average = {name: value.clone() for name, value in module.state_dict().items()}
    save_state(tmp_path / "state", module, average, [], {"iteration": 1})
    wanted = module[0].weight.detach().clone()
    nn.init.zeros_(module[0].weight)
    load_state(tmp_path / "state", module, average, [])
    assert torch.equal(module[1].weight, wanted) and module[1].weight is module[0].weight
