"""The dVAE's networks: sizes, blocks that begin as nearly the identity, and a likelihood that teaches them."""

import pytest
import torch

from kiloword.noise import Seeded
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.dvae import DVAEConfig, Residual
from kiloword.tokenizers.gumbel import GumbelConfig
from kiloword.tokenizers.logit_laplace import logit_laplace
from kiloword.tokens import Layout


@pytest.mark.parametrize(("groups", "channels", "size"), [(1, 3, (2, 3)), (2, 4, (4, 6)), (4, 1, (16, 8))])
def test_a_token_covers_so_many_pixels(groups, channels, size):
    config = DVAEConfig(8, 1, groups, channels)
    module = AutoencoderConfig(config, config, GumbelConfig(10, 4)).build()
    assert module.stride == 2 ** (groups - 1)
    pixels = torch.rand(2, channels, *size) * 2 - 1
    layout = module.layout(*size)
    quantized = module.encode(pixels, layout)
    assert quantized.target.shape == (2, layout.count) and layout.count == size[0] * size[1] // module.stride**2
    drawn = module.decode(quantized.target, layout, torch.ones_like(quantized.target, dtype=torch.bool))
    assert drawn.shape == pixels.shape and drawn.abs().max() <= 1


def test_widths_and_gain_of_the_published_networks():
    config = DVAEConfig()
    assert config.widths == (256, 512, 1024, 2048) and config.gain == 1 / 64 and config.stride == 8


def test_a_block_of_small_gain_is_nearly_its_skip():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 5)
    same, wider = Residual(8, 8, (3, 3, 3, 1), 1e-4), Residual(8, 16, (1, 3, 3, 3), 1e-4)
    assert torch.allclose(same(x), x, atol=1e-3) and not torch.equal(same(x), x)
    assert torch.allclose(wider(x), wider.skip(x), atol=1e-3) and wider(x).shape == (2, 16, 5, 5)
    assert [layer.kernel_size for layer in wider.convs] == [(1, 1), (3, 3), (3, 3), (3, 3)]
    assert [layer.out_channels for layer in wider.convs] == [4, 4, 4, 16]


def test_the_decoder_shows_the_middle_of_its_distribution():
    torch.manual_seed(0)
    decoder = DVAEConfig(8, 1, 2).build_decoder(4)
    layout, latent = Layout(((2, 2),)), torch.randn(1, 4, 2, 2)
    mean, log_scale = decoder.distribution(latent)
    assert mean.shape == log_scale.shape == (1, 3, 4, 4)
    assert torch.allclose(decoder(latent, layout), (mean.sigmoid() - 0.1) / 0.8 * 2 - 1, atol=1e-6)


def test_it_learns_a_few_pictures_and_needs_their_tokens_to_tell_them_apart():
    torch.manual_seed(0)
    config = DVAEConfig(8, 1, 2)
    module = AutoencoderConfig(config, config, GumbelConfig(8, 8)).build()
    colours = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1]])
    pixels, layout = colours.view(4, 3, 1, 1).expand(4, 3, 4, 4).clone(), module.layout(4, 4)
    for iteration in range(40):
        latent = module.encode(pixels, layout, Seeded([iteration * 4 + i for i in range(4)])).latent
        right, wrong = (
            logit_laplace(shown, *module.decoder.distribution(latent)).mean() for shown in (pixels, pixels.roll(1, 0))
        )
        module.zero_grad()
        right.backward()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter -= 0.02 * 0.97**iteration * parameter.grad.sign()
        module.quantizer.temperature = max(1 / 16, 0.97**iteration)
        first = right.item() if iteration == 0 else first
    assert right < first - 0.5 and right < wrong - 1


def test_wrong_settings_are_refused_with_the_numbers():
    with pytest.raises(ValueError, match=r"at least 1: \(8, 0, 4, 3\)"):
        DVAEConfig(8, 0)
    with pytest.raises(ValueError, match=r"divisible by 4 .* got 6"):
        DVAEConfig(6)
