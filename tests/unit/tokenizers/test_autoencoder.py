"""The autoencoder: pixels to tokens and back in the right shapes, of any size that its stride divides."""

import pytest
import torch

import tiny
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.fsq import FSQConfig
from kiloword.tokenizers.vit import ViTConfig


@pytest.mark.parametrize("height,width", [(8, 4), (2, 6), (2, 2)])
@torch.no_grad()
def test_shapes(height, width):
    tokenizer = tiny.autoencoder(groups=2).build()
    layout = tokenizer.layout(height, width)
    assert layout.sizes == ((height // 2, width // 2),)
    quantized = tokenizer.encode(torch.zeros(3, 4, height, width), layout)
    assert quantized.target.shape == (3, layout.count, 4)
    known = torch.ones(3, layout.count, dtype=torch.bool)
    assert tokenizer.decode(quantized.shown, layout, known).shape == (3, 4, height, width)


@torch.no_grad()
def test_unknown_tokens_are_not_looked_at():
    tokenizer = tiny.autoencoder().build()
    layout = tokenizer.layout(8, 4)
    tokens = tokenizer.encode(tiny.pixels(1), layout).target
    known = torch.arange(8)[None] < 5
    changed = tokens.clone()
    changed[:, 5:] = 0
    assert torch.equal(tokenizer.decode(tokens, layout, known), tokenizer.decode(changed, layout, known))


@torch.no_grad()
def test_a_picture_does_not_depend_on_the_others():
    tokenizer = tiny.autoencoder().build()
    layout, pixels = tokenizer.layout(8, 4), tiny.pixels(3)
    together = tokenizer.encoder(pixels, layout)
    assert torch.allclose(together[1:2], tokenizer.encoder(pixels[1:2], layout), atol=1e-5)


def test_only_the_first_groups_are_kept():
    tokenizer = tiny.autoencoder(groups=3).build()
    kept = tokenizer.keep_groups(torch.ones(2, 6, 1, 1), torch.tensor([1, 3]))
    assert kept[:, :, 0, 0].tolist() == [[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]]


def test_pixels_reach_every_parameter_with_a_gradient():
    tokenizer = tiny.autoencoder().build()
    layout = tokenizer.layout(8, 4)
    known = torch.ones(2, 8, dtype=torch.bool)
    tokenizer.render(tokenizer.encode(tiny.pixels(2), layout).latent, layout, known).square().sum().backward()
    assert [name for name, p in tokenizer.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("height,width", [(7, 4), (8, 3), (0, 4)])
def test_sizes_that_do_not_fit_are_refused(height, width):
    with pytest.raises(ValueError, match=f"multiples of 2, got {height}x{width}"):
        tiny.autoencoder().build().layout(height, width)


def test_pictures_that_do_not_fit_the_layout_are_refused():
    tokenizer = tiny.autoencoder().build()
    with pytest.raises(ValueError, match=r"\[4, 8, 4\], got \[1, 3, 8, 4\]"):
        tokenizer.encode(torch.zeros(1, 3, 8, 4), tokenizer.layout(8, 4))


def test_strides_must_agree():
    other = ViTConfig(tiny.vit().fine, tiny.vit().coarse, patch=2)
    with pytest.raises(ValueError, match="differ: 2, 4"):
        AutoencoderConfig(tiny.vit(), other, FSQConfig())
    with pytest.raises(ValueError, match="at least 1"):
        ViTConfig(tiny.vit().fine, tiny.vit().coarse, patch=0)
