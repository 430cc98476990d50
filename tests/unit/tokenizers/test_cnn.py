"""The convolutional networks: grids and channels come out right, settings that cannot be built are refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.cnn import Attention, CNNConfig, Double, Halve, in_sequence
from kiloword.tokenizers.fsq import FSQConfig
from kiloword.tokenizers.network import Decoder, Encoder, NetworkConfig
from kiloword.tokens import Layout

SMALL = CNNConfig(width=4, multipliers=(1, 2, 1), blocks=1, attention=(2,), groups=(2,), z=6)


@st.composite
def settings_of_networks(draw) -> dict:
    multipliers = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    levels = range(len(multipliers))
    return dict(
        width=draw(st.sampled_from([4, 6])),
        multipliers=multipliers,
        blocks=draw(st.integers(1, 2)),
        attention=tuple(draw(st.sets(st.sampled_from(levels)))),
        middle=draw(st.integers(0, 2)),
        groups=draw(st.sampled_from([(2,), (4, 3)])),
        downs=draw(st.none() | st.sampled_from(levels)),
        z=draw(st.integers(1, 5)),
        bridge=draw(st.sampled_from([1, 3])),
        channels=draw(st.sampled_from([3, 4])),
    )


@settings(max_examples=10)
@given(settings_of_networks(), st.integers(1, 3), st.integers(1, 2))
def test_a_token_covers_stride_by_stride_pixels(given_settings, h, w):
    config = CNNConfig(**given_settings)
    encoder, decoder = config.build_encoder(5), config.build_decoder(2)
    assert isinstance(config, NetworkConfig) and isinstance(encoder, Encoder) and isinstance(decoder, Decoder)
    layout, side = Layout(((h, w),)), config.stride
    pixels = torch.randn(2, config.channels, h * side, w * side)
    assert encoder.trunk(pixels).shape == (2, config.z, h, w)
    assert encoder(pixels, layout).shape == (2, 5, h, w)
    assert decoder(torch.randn(2, 2, h, w), layout).shape == pixels.shape


@settings(max_examples=10)
@given(settings_of_networks())
def test_attention_is_where_it_was_asked_for(given_settings):
    config = CNNConfig(**given_settings)
    encoder, decoder = config.build_encoder(2), config.build_decoder(2)
    for i in range(len(config.multipliers)):
        wanted = config.blocks if i in config.attention else 0
        assert len(encoder.levels[i].attentions) == wanted
        assert len(decoder.levels[len(config.multipliers) - 1 - i].attentions) == (wanted + 1 if wanted else 0)
    assert len(encoder.middle.attentions) == len(decoder.middle.attentions) == config.middle


@settings(max_examples=10)
@given(settings_of_networks())
def test_every_weight_is_used(given_settings):
    config = CNNConfig(**given_settings)
    encoder, decoder = config.build_encoder(3), config.build_decoder(3)
    side, layout = 2 * config.stride, Layout(((2, 2),))
    decoder(encoder(torch.randn(1, config.channels, side, side), layout), layout).square().sum().backward()
    unused = [name for net in (encoder, decoder) for name, weight in net.named_parameters() if weight.grad is None]
    assert not unused


def test_the_trunk_is_all_but_the_bridge():
    encoder, decoder, layout = SMALL.build_encoder(3), SMALL.build_decoder(3), Layout(((2, 1),))
    pixels, latent = torch.randn(1, 3, 8, 4), torch.randn(1, 3, 2, 1)
    assert torch.allclose(encoder(pixels, layout), encoder.bridge(encoder.trunk(pixels)), atol=1e-5)
    assert torch.allclose(decoder(latent, layout), decoder.trunk(decoder.bridge(latent)), atol=1e-5)


@settings(max_examples=10)
@given(settings_of_networks())
def test_the_steps_are_the_network_and_those_with_attention_are_wide(given_settings):
    config, layout = CNNConfig(**given_settings), Layout(((2, 3),))
    encoder, decoder = config.build_encoder(4), config.build_decoder(4)
    pixels, latent = torch.randn(1, config.channels, 2 * config.stride, 3 * config.stride), torch.randn(1, 4, 2, 3)
    assert torch.allclose(in_sequence(encoder.steps, pixels), encoder(pixels, layout), atol=1e-5)
    assert torch.allclose(in_sequence(decoder.steps, latent), decoder(latent, layout), atol=1e-5)
    for network, wide in ((encoder, encoder.steps[-encoder.wide or 99 :]), (decoder, decoder.steps[: decoder.wide])):
        attentions = [layer for layer in network.modules() if isinstance(layer, Attention)]
        assert [step for step in wide if isinstance(step, Attention)] == attentions
        assert bool(attentions) == bool(wide)


def test_without_a_bridge_the_channels_have_to_agree():
    config = CNNConfig(4, (1, 1), 1, groups=(2,), z=6, bridge=0)
    encoder = config.build_encoder(6)
    pixels = torch.randn(1, 3, 4, 4)
    assert torch.equal(encoder(pixels, Layout(((2, 2),))), encoder.trunk(pixels))
    for build in (config.build_encoder, config.build_decoder):
        with pytest.raises(ValueError, match="6 channels of the network meet the quantizer's 5"):
            build(5)


def test_halving_sees_zeros_on_the_right_and_below_only():
    down = Halve(1)
    torch.nn.init.ones_(down.conv.weight)
    torch.nn.init.zeros_(down.conv.bias)
    assert torch.equal(down(torch.ones(1, 1, 4, 4))[0, 0], torch.tensor([[9.0, 6.0], [6.0, 4.0]]))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 2))
def test_doubling_is_repetition_and_a_convolution(h, w, b):
    layer, x = Double(3), torch.randn(b, 3, h, w, requires_grad=True)
    slow = layer.conv(interpolate(x, scale_factor=2, mode="nearest"))
    assert torch.allclose(layer(x), slow, atol=1e-5)
    weight = torch.randn_like(slow)
    wanted = torch.autograd.grad((slow * weight).sum(), [x, *layer.parameters()])
    found = torch.autograd.grad((layer(x) * weight).sum(), [x, *layer.parameters()])
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(found, wanted, strict=True))


def test_without_gradients_the_same_comes_out_and_nothing_outside_is_overwritten():
    encoder, decoder, layout = SMALL.build_encoder(3), SMALL.build_decoder(3), Layout(((2, 1),))
    pixels, latent = torch.randn(1, 3, 8, 4), torch.randn(1, 3, 2, 1)
    before = pixels.clone(), latent.clone()
    wanted = encoder(pixels, layout), decoder(latent, layout)
    with torch.no_grad():
        assert torch.equal(encoder(pixels, layout), wanted[0]) and torch.equal(decoder(latent, layout), wanted[1])
    assert torch.equal(pixels, before[0]) and torch.equal(latent, before[1])


def test_attention_is_that_of_its_formula():
    torch.manual_seed(0)
    layer, x = Attention(SMALL, 4), torch.randn(2, 4, 3, 2)
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).chunk(3, dim=1)
    share = (torch.einsum("bci,bcj->bij", q, k) / 2).softmax(dim=2)
    attended = torch.einsum("bij,bcj->bci", share, v).view_as(x)
    assert torch.allclose(layer(x), x + layer.out(attended), atol=1e-6)


def test_the_first_group_count_that_divides_the_channels_is_taken():
    config = CNNConfig(width=24, multipliers=(1, 4), groups=(32, 24))
    assert [config.groups_of(width) for width in config.widths] == [24, 32]


def test_networks_that_differ_but_for_the_stride_make_an_autoencoder():
    other = CNNConfig(width=8, multipliers=(1, 1, 1, 2), blocks=2, groups=(4,), downs=2, z=3, bridge=3)
    tokenizer = AutoencoderConfig(SMALL, other, FSQConfig((5, 4))).build()
    layout = tokenizer.layout(8, 12)
    pixels = torch.rand(1, 3, 8, 12) * 2 - 1
    tokens = tokenizer.encode(pixels, layout).target
    known = torch.ones(tokens.shape[:2], dtype=torch.bool)
    assert layout.sizes == ((2, 3),) and tokenizer.decode(tokens, layout, known).shape == pixels.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "start at 1"),
        ({"multipliers": ()}, "start at 1"),
        ({"attention": (3,)}, r"attention in levels \(3,\), but there are 3"),
        ({"downs": 3}, "3 levels can be halved 0 to 2 times, not 3"),
        ({"downs": -1}, "not -1"),
        ({"middle": 3}, "not 3"),
        ({"bridge": 2}, "odd, or 0 for no bridge, got 2"),
        ({"groups": (3, 5)}, r"4 channels cannot be normalised in groups of any of \(3, 5\)"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    settings = {"width": 4, "multipliers": (1, 2, 1), "groups": (2,)}
    with pytest.raises(ValueError, match=message):
        CNNConfig(**{**settings, **change})
