"""The laws of quantizers, over every one in the table of parts: tokens, latents, gradients and noise fit together."""

import inspect
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword import parts
from kiloword.noise import Seeded
from kiloword.tokenizers.fsq import FSQ
from kiloword.tokenizers.quantizer import UNKNOWN, Quantizer
from kiloword.tokens import Bits, Categorical, Codes, Layout, Vector
from kiloword.tokens.space import values_of

GRIDS = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))  # pictures, rows, columns
NAMES = sorted(tiny.QUANTIZERS)


def built(name: str) -> Quantizer:
    """A small quantizer in evaluation mode; continuous weights are random but for their scale."""
    torch.manual_seed(0)
    return tiny.QUANTIZERS[name].build().eval()


def case(quantizer: Quantizer, grid: tuple[int, int, int], seed: int = 0) -> tuple[torch.Tensor, Layout]:
    b, h, w = grid
    layout = Layout(quantizer.multiscale.grids(h, w) if quantizer.multiscale else ((h, w),))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(b, quantizer.encoder_channels, h, w, generator=generator), layout


def test_every_quantizer_of_the_table_has_an_example():
    found = set()
    for config in parts.PARTS.values():
        if "build" in vars(config):
            name = inspect.signature(config.build).return_annotation
            made = getattr(sys.modules[config.__module__], name, None) if isinstance(name, str) else name
            if hasattr(made, "quantize") and hasattr(made, "lookup"):
                found.add(config)
    assert found == {type(config) for config in tiny.QUANTIZERS.values()}


@pytest.mark.parametrize("name", NAMES)
@given(grid=GRIDS, seed=st.integers(0, 99))
def test_tokens_fit_the_space_and_look_up_to_the_latent(name, grid, seed):
    quantizer = built(name)
    latent, layout = case(quantizer, grid, seed)
    result = quantizer.quantize(latent, layout)
    quantizer.space.check(result.target)
    assert result.target.shape[:2] == (grid[0], layout.count)
    assert result.latent.shape == (grid[0], quantizer.channels, *grid[1:])
    assert torch.allclose(quantizer.lookup(result.shown, layout), result.latent, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in tiny.NOT_IDEMPOTENT])
@given(grid=GRIDS, seed=st.integers(0, 99))
def test_quantizing_a_lookup_gives_the_same_tokens(name, grid, seed):
    quantizer = built(name)
    _, layout = case(quantizer, grid)
    sizes = values_of(quantizer.space)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(grid[0], layout.count, *quantizer.space.tail, generator=generator)
    tokens = (drawn * sizes).long()
    latent = quantizer.lookup(tokens, layout)
    if isinstance(quantizer, FSQ):  # its latents have been through a tanh, which an encoder's have not
        latent = quantizer.unbounded(latent)
    assert torch.equal(quantizer.quantize(latent, layout).target, tokens)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_reaches_the_encoder(name):
    quantizer = built(name).train()
    latent, layout = case(quantizer, (2, 4, 4))
    latent.requires_grad_()
    noise = Seeded([1, 2])
    (quantizer.quantize(latent, layout, noise).latent * torch.randn(2, quantizer.channels, 4, 4)).sum().backward()
    assert torch.isfinite(latent.grad).all() and latent.grad.abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_does_not_depend_on_the_others(name):
    quantizer = built(name)
    latent, layout = case(quantizer, (3, 4, 3))
    order = torch.tensor([2, 0, 1])
    together, mixed = quantizer.quantize(latent, layout).target, quantizer.quantize(latent[order], layout).target
    alone = quantizer.quantize(latent[1:2], layout).target
    for one, other in ((mixed, together[order]), (alone, together[1:2])):
        assert torch.allclose(one, other, atol=1e-5) if one.is_floating_point() else torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_noise_gives_the_same_tokens(name):
    quantizer = built(name)
    latent, layout = case(quantizer, (2, 4, 4))
    first, second = (quantizer.quantize(latent, layout, Seeded([3, 4])).shown for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_quantized_is_refused_with_the_numbers(name):
    quantizer = built(name)
    latent, layout = case(quantizer, (1, 3, 3))
    latent[0, 0, 1, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        quantizer.quantize(latent, layout)
    wide = torch.zeros(1, quantizer.encoder_channels + 1, 3, 3)
    channels = quantizer.encoder_channels
    with pytest.raises(ValueError, match=rf"{channels}.*\[1, {channels + 1}, 3, 3\]"):
        quantizer.quantize(wide, layout)


@pytest.mark.parametrize("name", [name for name in NAMES if not isinstance(built(name).space, Vector)])
def test_unknown_tokens_look_up_to_zero(name):
    quantizer = built(name)
    latent, layout = case(quantizer, (2, 4, 3))
    nothing = torch.full_like(quantizer.quantize(latent, layout).target, UNKNOWN)
    assert torch.equal(quantizer.lookup(nothing, layout), torch.zeros(2, quantizer.channels, 4, 3))


@pytest.mark.parametrize("name", [name for name in NAMES if not isinstance(built(name).space, Vector)])
def test_a_certain_distribution_looks_up_to_its_token(name):
    quantizer = built(name)
    latent, layout = case(quantizer, (2, 4, 3))
    tokens = quantizer.quantize(latent, layout).target
    match quantizer.space:
        case Categorical(size):
            certain = torch.nn.functional.one_hot(tokens, size).float()
        case Codes(sizes):
            certain = torch.nn.functional.one_hot(tokens, max(sizes)).float()
        case Bits():
            certain = tokens.float()
    assert torch.allclose(quantizer.lookup(certain, layout), quantizer.lookup(tokens, layout), atol=1e-5)
