"""Packed matrices give the products of plain ones, notice changes, and are not used with autograd."""

import pickle
from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import gelu, linear

from kiloword.engine.cpu import packed_linear
from kiloword.engine.cpu.packed_linear import Packed, can_pack, pack_matrices

pytestmark = pytest.mark.skipif(not can_pack(torch.zeros(1, 1)), reason="torch was built without oneDNN")


def layers(inputs: int = 32, outputs: int = 64, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, outputs, bias), nn.SiLU(), nn.Linear(outputs, 8))


def plainly(module: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    first, activation, last = module
    return linear(activation(linear(x, first.weight, first.bias)), last.weight, last.bias)


@given(st.integers(1, 70), st.integers(1, 70), st.lists(st.integers(0, 5), min_size=1, max_size=3), st.booleans())
@torch.no_grad()
def test_the_products_are_the_same(inputs, outputs, shape, bias):
    module = layers(inputs, outputs, bias)
    x = torch.randn(*shape, inputs)
    plain = module(x)
    pack_matrices(module)
    assert all(isinstance(module[k].forward, Packed) for k in (0, 2))
    assert module(x).shape == plain.shape and torch.allclose(module(x), plain, atol=1e-5)
    transposed = torch.randn(inputs, 4).t()
    assert torch.allclose(module(transposed), plainly(module, transposed), atol=1e-5)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 40), st.sampled_from(["none", "tanh"]))
@torch.no_grad()
def test_the_gelu_of_a_product_is_the_same_however_it_is_reached(inputs, outputs, count, approximate):
    module, x = layers(inputs, outputs), 3 * torch.randn(count, inputs)
    wanted = gelu(module[0](x), approximate=approximate)
    pack_matrices(module)
    assert torch.allclose(module[0].forward(x, approximate), wanted, atol=1e-5)
    module.double()
    assert torch.allclose(module[0].forward(x.double(), approximate).float(), wanted, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("count", [packed_linear._MANY - 1, packed_linear._MANY, 3 * packed_linear._MANY])
def test_many_vectors_are_the_same_with_and_without_blocks(count, blocks, monkeypatch):
    monkeypatch.setattr(packed_linear, "blocks_for_many", lambda: blocks)
    module, x = layers(), torch.randn(count, 32)
    wanted = plainly(module, x)
    activated = gelu(module[0](x), approximate="tanh")
    pack_matrices(module)
    assert torch.allclose(module(x), wanted, atol=1e-5)
    assert torch.allclose(module[0].forward(x, "tanh"), activated, atol=1e-5)
    assert packed_linear.blocks_for_many() == blocks


@torch.no_grad()
def test_a_weight_that_changes_is_packed_anew():
    module, x = layers(), torch.randn(3, 32)
    pack_matrices(module)
    before = module(x)
    module[0].weight.mul_(2)
    assert not torch.allclose(module(x), before) and torch.allclose(module(x), plainly(module, x), atol=1e-5)
    for assign in (False, True):
        module.load_state_dict({name: value + 1 for name, value in module.state_dict().items()}, assign=assign)
        assert torch.allclose(module(x), plainly(module, x), rtol=1e-5)


def test_it_learns_as_if_it_were_not_packed():
    module, x = layers(), torch.randn(3, 32)
    pack_matrices(module)
    module(x).sum().backward()
    grads = [parameter.grad for parameter in module.parameters()]
    module.zero_grad(set_to_none=True)
    plainly(module, x).sum().backward()
    assert all(torch.equal(grad, p.grad) for grad, p in zip(grads, module.parameters(), strict=True))


@torch.no_grad()
def test_copies_have_matrices_of_their_own():
    module, x = layers(), torch.randn(3, 32)
    pack_matrices(module)
    before = module(x)
    for copy in (deepcopy(module), pickle.loads(pickle.dumps(module))):
        copy[0].weight.zero_()
        assert copy[0].forward.layer is copy[0]
        assert not torch.allclose(copy(x), before) and torch.equal(module(x), before)
    assert module.state_dict().keys() == layers().state_dict().keys()


@torch.no_grad()
def test_layers_beyond_the_limit_are_laid_out_anew_without_a_copy():
    module, x = layers(), torch.randn(3, 32)
    plain = module(x)
    pack_matrices(module, most=0)
    assert not any("forward" in vars(layer) for layer in module)
    assert module[0].weight.stride() == (1, 64) and module[2].weight.is_contiguous()
    assert torch.allclose(module(x), plain, atol=1e-6)


@torch.no_grad()
def test_other_number_formats_go_the_usual_way():
    module, x = layers(), torch.randn(3, 32)
    pack_matrices(module)
    with torch.autocast("cpu", torch.bfloat16):
        assert module(x).dtype == torch.bfloat16
    module.double()
    assert torch.allclose(module(x.double()), plainly(module, x.double()))
