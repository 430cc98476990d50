"""ViTamin: grids halve stage by stage and double again, at any size that the stride divides."""

import pytest
import torch

import tiny
from kiloword.tokenizers.network import Decoder, Encoder, NetworkConfig
from kiloword.tokenizers.vitamin import ViTaminConfig
from kiloword.tokens import Layout
from kiloword.transformer import AttentionConfig, GeGLUConfig, LayerNormConfig, StackConfig

STACK = StackConfig(8, 1, AttentionConfig(2, bias=True), GeGLUConfig(12), LayerNormConfig())


def vitamin(stages: int = 2, **changes) -> ViTaminConfig:
    settings = {"stem": 3, "widths": (4, 5, 6)[:stages], "blocks": (1, 2, 1)[:stages], "up_blocks": (2, 1, 1)[:stages]}
    return ViTaminConfig(STACK, **{**settings, **changes})


@pytest.mark.parametrize("stages,stride", [(1, 8), (2, 16), (3, 32)])
@torch.no_grad()
def test_shapes(stages, stride):
    config = vitamin(stages)
    assert isinstance(config, NetworkConfig) and config.stride == stride
    encoder, decoder, layout = config.build_encoder(8), config.build_decoder(8), Layout(((2, 1),))
    assert isinstance(encoder, Encoder) and isinstance(decoder, Decoder)
    latent = encoder(torch.zeros(3, 3, 2 * stride, stride), layout)
    assert latent.shape == (3, 8, 2, 1)
    assert decoder(latent, layout).shape == (3, 3, 2 * stride, stride)


def test_the_decoder_runs_through_the_stages_backwards():
    widths = [[len(block.narrow.bias) for block in stage] for stage in vitamin().build_decoder(8).stages]
    assert widths == [[5, 5], [4]]  # up_blocks are counted in the order in which they are run


@torch.no_grad()
def test_every_place_sees_the_whole_picture():
    torch.manual_seed(0)
    encoder, layout = tiny.awake(vitamin(1).build_encoder(8)), Layout(((8, 8),))
    pixels = torch.randn(1, 3, 64, 64)
    changed = pixels.clone()
    changed[..., :8, :8] += 1
    near = (encoder.patches(pixels) - encoder.patches(changed)).abs().amax(1)[0] > 0
    assert near[0, 0] and not near[4:, 4:].any()
    assert ((encoder(pixels, layout) - encoder(changed, layout)).abs().amax(1) > 0).all()


@torch.no_grad()
def test_a_picture_does_not_depend_on_the_others():
    torch.manual_seed(0)
    encoder, layout, pixels = vitamin().build_encoder(8), Layout(((2, 1),)), torch.randn(3, 3, 32, 16)
    assert torch.allclose(encoder(pixels, layout)[1:2], encoder(pixels[1:2], layout), atol=1e-5)


def test_pixels_reach_every_parameter_with_a_gradient():
    torch.manual_seed(0)
    config, layout = vitamin(), Layout(((2, 1),))
    encoder, decoder = tiny.awake(config.build_encoder(8)), tiny.awake(config.build_decoder(8))
    decoder(encoder(torch.randn(2, 3, 32, 16), layout), layout).square().sum().backward()
    named = [*encoder.named_parameters(), *decoder.named_parameters()]
    assert [name for name, p in named if p.grad is None or not p.grad.any()] == []


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"every stage .* got \(4, 5\), \(1,\), \(2, 1\)"):
        vitamin(blocks=(1,))
    with pytest.raises(ValueError, match="at least 1"):
        vitamin(stem=0)
    with pytest.raises(ValueError, match="width 8 has latents of as many channels, not of 5"):
        vitamin().build_encoder(5)
