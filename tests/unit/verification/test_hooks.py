"""Recorded calls: all inputs and outputs of a module during a run, and none after it."""

import pytest
import torch
from torch import nn

from kiloword.verification.hooks import recorded_calls


def test_every_call_of_the_part_is_recorded_in_order():
    part = nn.Linear(2, 3)
    whole = nn.Sequential(part, nn.ReLU())
    calls = [torch.ones(1, 2), torch.zeros(4, 2)]
    inputs, outputs = recorded_calls(part, lambda: [whole(x) for x in calls])
    assert all(torch.equal(one, other) for one, other in zip(inputs, calls, strict=True))
    assert all(torch.equal(one, part(x)) for one, x in zip(outputs, calls, strict=True))
    whole(calls[0])
    assert len(inputs) == len(outputs) == 2


def test_the_hook_is_removed_when_the_run_has_failed():
    part = nn.Linear(2, 3)
    with pytest.raises(ZeroDivisionError):
        recorded_calls(part, lambda: 1 / 0)
    assert not part._forward_hooks
