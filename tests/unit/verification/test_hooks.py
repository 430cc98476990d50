"""Listening: all that a part is given and answers is heard while it works, and nothing afterwards or in vain."""

import pytest
import torch
from torch import nn

from kiloword.verification.hooks import heard


def test_every_call_of_the_part_is_heard_in_order():
    part = nn.Linear(2, 3)
    whole = nn.Sequential(part, nn.ReLU())
    calls = [torch.ones(1, 2), torch.zeros(4, 2)]
    given, answered = heard(part, lambda: [whole(x) for x in calls])
    assert all(torch.equal(one, other) for one, other in zip(given, calls, strict=True))
    assert all(torch.equal(one, part(x)) for one, x in zip(answered, calls, strict=True))
    whole(calls[0])
    assert len(given) == len(answered) == 2


def test_nobody_listens_any_more_when_the_work_has_failed():
    part = nn.Linear(2, 3)
    with pytest.raises(ZeroDivisionError):
        heard(part, lambda: 1 / 0)
    assert not part._forward_hooks
