"""Feed-forward networks are the formulas of their papers."""

import pytest
import torch
from torch.nn.functional import gelu, silu

from kiloword.transformer import GeGLUConfig, GELUConfig, SwiGLUConfig


def test_swiglu_gates_with_the_first_half():
    network = SwiGLUConfig(6).build(4)
    x = torch.randn(3, 4)
    gate, up = network.gate_up.weight[:6], network.gate_up.weight[6:]
    assert torch.allclose(network(x), (silu(x @ gate.T) * (x @ up.T)) @ network.out.weight.T, atol=1e-6)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_stands_between_two_matrices(approximate):
    network = GELUConfig(6, approximate).build(4)
    x = torch.randn(3, 4)
    assert torch.allclose(network(x), network.out(gelu(network.up(x), approximate=approximate)), atol=1e-6)


def test_geglu_norms_first_and_gates_with_the_first_half():
    network = GeGLUConfig(6).build(4)
    torch.nn.init.normal_(network.norm.weight)
    x = torch.randn(3, 4)
    gate, up = (network.norm(x) @ network.gate_up.weight.T + network.gate_up.bias).split(6, dim=-1)
    assert torch.allclose(network(x), network.out(gelu(gate, approximate="tanh") * up), atol=1e-6)
