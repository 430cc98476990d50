"""Norms: the root mean square becomes 1 whatever the scale."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.transformer import LayerNormConfig, RMSNormConfig


@given(st.floats(0.01, 100))
def test_rms_norm_forgets_the_scale(scale):
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    norm = RMSNormConfig().build(16)
    assert torch.allclose(norm(x * scale), norm(x), atol=0.02 if scale < 0.1 else 1e-3)
    assert torch.allclose(norm(x * 100).square().mean(-1), torch.ones(4), atol=1e-4)


def test_the_gain_multiplies_each_channel():
    norm = RMSNormConfig(eps=0.0).build(3)
    norm.weight.data = torch.tensor([1.0, 2.0, 0.0])
    assert torch.allclose(norm(torch.ones(1, 3)), torch.tensor([[1.0, 2.0, 0.0]]))


def test_layer_norm_removes_the_mean():
    assert LayerNormConfig(affine=False).build(8)(torch.randn(5, 8) + 3).mean(-1).abs().max() < 1e-5
