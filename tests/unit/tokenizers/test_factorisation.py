"""Attention factorisation: between wide and narrow vectors, by formula; and around any network."""

import pytest
import torch

import tiny
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.factorisation import FactorisationConfig, Projection, ResizingAttention
from kiloword.tokenizers.multicode import MulticodeConfig


def attention(inside: int, outside: int) -> ResizingAttention:
    torch.manual_seed(0)
    return tiny.awake(ResizingAttention(inside, outside))


def heads(module: ResizingAttention, x: torch.Tensor) -> torch.Tensor:
    """The outputs of all heads [heads, cells, channels], each head computed by itself."""
    wide = len(module.query_bias)
    queries = x @ module.qkv.weight[:wide].T + module.query_bias
    keys = x @ module.qkv.weight[wide : 2 * wide].T
    values = x @ module.qkv.weight[2 * wide :].T + module.value_bias
    found = []
    for part in torch.arange(wide).view(module.heads, -1):
        share = (queries[:, part] @ keys[:, part].T / len(part) ** 0.5).softmax(-1)
        found.append(share @ values[:, part])
    return torch.stack(found)


def test_narrowing_takes_the_mean_of_the_heads():
    module, x = attention(12, 4), torch.randn(5, 12)
    assert module.heads == 3
    assert torch.allclose(module(x[None])[0], module.out(heads(module, x).mean(0)), atol=1e-5)


def test_widening_puts_the_heads_side_by_side():
    module, x = attention(4, 12), torch.randn(5, 4)
    beside = torch.cat(list(heads(module, x)), dim=1)
    assert torch.allclose(module(x[None])[0], module.out(beside), atol=1e-5)


def test_a_projection_is_a_block_with_a_linear_layer_for_the_identity():
    torch.manual_seed(0)
    block, x = tiny.awake(Projection(12, 4)), torch.randn(2, 5, 12)
    middle = block.skip(block.skip_norm(x)) + block.attention(block.attention_norm(x))
    wanted = middle + block.feed_forward(block.feed_forward_norm(middle))
    assert torch.allclose(block(x), wanted) and wanted.shape == (2, 5, 4)


def test_widths_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="got 12 and 5"):
        Projection(12, 5)
    with pytest.raises(ValueError, match="at least one channel, got 0"):
        FactorisationConfig(tiny.vit(), 0)


def test_it_goes_around_any_network_and_every_parameter_learns():
    torch.manual_seed(0)
    network = FactorisationConfig(tiny.vit(), 12)
    tokenizer = AutoencoderConfig(network, network, MulticodeConfig(2, 8, 3)).build()
    layout = tokenizer.layout(8, 4)
    quantized = tokenizer.encode(tiny.pixels(2), layout)
    known = torch.ones(2, 8, dtype=torch.bool)
    assert (tokenizer.stride, tokenizer.channels) == (2, 4)
    assert tokenizer.decode(quantized.target, layout, known).shape == (2, 4, 8, 4)
    loss = tokenizer.render(quantized.latent, layout, known).square().sum() + sum(quantized.losses.values())
    loss.backward()
    assert [name for name, p in tokenizer.named_parameters() if p.grad is None or not p.grad.any()] == []
