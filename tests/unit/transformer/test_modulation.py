"""Modulation starts as nothing: a fresh modulated block hands its input on, and needs a vector to do more."""

import pytest
import torch

import tiny
from kiloword.transformer import Stream


def block():
    return tiny.modulated().build().blocks[0]


def test_a_fresh_block_is_the_identity():
    x, vector = torch.randn(2, 3, tiny.WIDTH), torch.randn(2, 1, tiny.WIDTH)
    assert torch.equal(block()(x, None, None, vector), x)


def test_an_awake_block_listens_to_the_vector_of_each_place():
    awake = tiny.awake(block())
    x, vector = torch.randn(2, 3, tiny.WIDTH), torch.randn(2, 3, tiny.WIDTH)
    first = awake(x, None, None, vector)
    vector[:, 2] += 1
    second = awake(x, None, torch.eye(3, dtype=torch.bool).expand(2, -1, -1), vector)
    assert not torch.allclose(first[:, 2], second[:, 2])
    alone = awake(x[:, :1], None, None, vector[:, :1])
    assert torch.allclose(second[:, :1], alone, atol=1e-5)


def test_a_missing_vector_is_an_error():
    with pytest.raises(ValueError, match="modulated by the condition's vector"):
        tiny.modulated().build()(Stream(torch.zeros(1, 2, tiny.WIDTH), torch.zeros(1, 2, 4)))
