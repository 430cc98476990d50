"""Muon: its updates are orthogonal, and its steps equal those of PyTorch's, up to that one's bfloat16."""

import pytest
import torch
from torch import nn

from kiloword.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 12, 12)])
def test_singular_values_come_out_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape) * 1e-3))
    assert values.min() > 0.6 and values.max() < 1.3


def test_a_walk_is_that_of_pytorchs_muon():
    torch.manual_seed(0)
    start = torch.randn(16, 24)
    candidate, reference = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    muon = Muon([candidate], lr=0.02, weight_decay=0.1, momentum=0.9)
    other = torch.optim.Muon([reference], lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        gradient = torch.randn(16, 24)
        for parameter, optimiser in ((candidate, muon), (reference, other)):
            parameter.grad = gradient.clone()
            optimiser.step()
    assert not torch.allclose(candidate, start, atol=0.01)
    assert (candidate - reference).norm() / (candidate - start).norm() < 0.02


def test_vectors_are_refused():
    with pytest.raises(ValueError, match=r"matrices, got shapes \[\(3,\)\]"):
        Muon([nn.Parameter(torch.zeros(3))])
