"""Attention with grouped heads is the sum of a loop over heads and positions."""

import math

import pytest
import torch

from kiloword.transformer import AttentionConfig, RMSNormConfig
from kiloword.transformer.attention import Attention


def naive(attention: Attention, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    heads, shared, d = attention.heads, attention.key_heads, attention.head_dim
    outputs = []
    for sequence, allowed in zip(x, mask, strict=True):
        parts = attention.qkv(sequence).view(len(sequence), -1, d)
        attended = []
        for position in range(len(sequence)):
            mixed = []
            for head in range(heads):
                group = head // (heads // shared)
                query = attention.query_norm(parts[position, head])
                keys = attention.key_norm(parts[:, heads + group])
                weights = (keys @ query / math.sqrt(d)).masked_fill(~allowed[position], -math.inf).softmax(0)
                mixed.append(weights @ parts[:, heads + shared + group])
            attended.append(torch.cat(mixed))
        outputs.append(torch.stack(attended))
    return attention.out(torch.stack(outputs))


@pytest.mark.parametrize("key_heads", [None, 1, 2])
@pytest.mark.parametrize("norm", [None, RMSNormConfig()])
@torch.no_grad()
def test_it_equals_the_loop(key_heads, norm):
    torch.manual_seed(0)
    attention = AttentionConfig(4, key_heads, head_dim=6, bias=True, query_norm=norm).build(10)
    x = torch.randn(2, 5, 10)
    mask = (torch.rand(2, 5, 5) < 0.5) | torch.eye(5, dtype=torch.bool)
    assert torch.allclose(attention(x, None, mask), naive(attention, x, mask), atol=1e-5)
    everywhere = torch.ones_like(mask)
    assert torch.allclose(attention(x, None, None), naive(attention, x, everywhere), atol=1e-5)


def test_heads_that_do_not_share_out_are_refused():
    with pytest.raises(ValueError, match="4 query heads cannot share 3"):
        AttentionConfig(4, 3)
    with pytest.raises(ValueError, match="width 10 is not a multiple of 4"):
        AttentionConfig(4).build(10)
