"""MBConv blocks are the formulas of their papers, and change the grid as they say."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, gelu, layer_norm

import tiny
from kiloword.tokenizers.mbconv import ChannelNorm, MBConv, doubling, halving, wide_middle


def normed(norm: ChannelNorm, x: torch.Tensor) -> torch.Tensor:
    normed = layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), norm.weight, norm.bias, 1e-6)
    return normed.permute(0, 3, 1, 2)


def inside(block: MBConv, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    """What a block adds, in plain convolutions."""
    x = gelu(conv2d(normed(block.norm, x), block.widen.weight, block.widen.bias))
    if not isinstance(block.enlarge, torch.nn.Identity):
        x = conv2d(twice(x), block.enlarge.conv.weight, block.enlarge.conv.bias, padding=1)
    x = gelu(conv2d(x, block.depthwise.weight, block.depthwise.bias, stride, padding=1, groups=x.shape[1]))
    return conv2d(x, block.narrow.weight, block.narrow.bias)


def twice(x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize("outside", [3, 5])
def test_halving(outside):
    torch.manual_seed(0)
    first, second = blocks = tiny.awake(halving(3, outside, 2))
    x = torch.randn(2, 3, 5, 6)
    pooled = avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    fit = first.shortcut[1]
    around = pooled if outside == 3 else conv2d(pooled, fit.weight, fit.bias)
    halved = around + inside(first, x, stride=2)
    assert halved.shape == (2, outside, 3, 3)
    assert torch.allclose(blocks(x), halved + inside(second, halved), atol=1e-5)


@pytest.mark.parametrize("outside", [3, 5])
def test_doubling(outside):
    torch.manual_seed(0)
    first, second = blocks = tiny.awake(doubling(3, outside, 2))
    x = torch.randn(2, 3, 2, 3)
    around = conv2d(twice(x), first.shortcut.conv.weight, first.shortcut.conv.bias, padding=1)
    doubled = around + inside(first, x)
    assert doubled.shape == (2, outside, 4, 6)
    assert torch.allclose(blocks(x), doubled + inside(second, doubled), atol=1e-5)


def test_the_middle_is_four_times_as_wide_in_steps_of_eight():
    assert [wide_middle(width) for width in (1, 2, 3, 8, 9, 160)] == [8, 8, 16, 32, 40, 640]
