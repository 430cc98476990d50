"""Patches: neighbouring vectors in one token and back, in the order of channels, rows and columns."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.noise import Seeded
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bsq_scales import BSQScalesConfig
from kiloword.tokenizers.kl import KLConfig
from kiloword.tokenizers.patched import Patched, PatchedConfig, joined, taken_apart
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokenizers.quantizer import Multiscale
from kiloword.tokens import Bits, Layout, Vector


def patched(patch: int = 2) -> Patched:
    torch.manual_seed(0)
    return PatchedConfig(AutoencoderConfig(tiny.vit(), tiny.vit(), KLConfig(4, 0.5)), patch).build()


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_a_token_holds_channel_after_channel_each_row_by_row(h, w, c, p):
    grid = torch.arange(2 * c * h * p * w * p).float().view(2, c, h * p, w * p)
    vectors = grid.flatten(2).transpose(1, 2)
    by_hand = torch.einsum("nchpwq->nhwcpq", grid.view(2, c, h, p, w, p)).reshape(2, h * w, c * p * p)
    assert torch.equal(joined(vectors, w, p), by_hand)
    assert torch.equal(taken_apart(by_hand, w, p), vectors)


@torch.no_grad()
def test_it_is_the_tokenizer_inside_seen_in_patches():
    outer, pixels = patched(), tiny.pixels(2)
    inner, layout = outer.tokenizer, outer.layout(8, 4)
    assert outer.space == Vector(16) and (outer.stride, outer.channels) == (4, 4)
    assert layout.sizes == ((2, 1),) and outer.inner(layout) == inner.layout(8, 4)
    one, two = outer.encode(pixels, layout, Seeded([1, 2])), inner.encode(pixels, inner.layout(8, 4), Seeded([1, 2]))
    outer.space.check(one.target)
    assert torch.equal(one.target, joined(two.target, 1, 2)) and torch.equal(one.shown, one.target)
    assert torch.equal(one.latent, two.latent) and one.losses.keys() == two.losses.keys()
    known = torch.tensor([[True, False], [True, True]])
    cells = torch.tensor([[True] * 4 + [False] * 4, [True] * 8])
    drawn = outer.decode(one.target, layout, known)
    assert torch.allclose(drawn, inner.decode(two.target, inner.layout(8, 4), cells), atol=1e-6)


def test_what_has_no_patches_is_refused():
    with pytest.raises(ValueError, match="multiples of 4, got 8x6"):
        patched().layout(8, 6)
    with pytest.raises(ValueError, match="at least 1 row, got 0"):
        PatchedConfig(tiny.autoencoder(), 0)
    with pytest.raises(ValueError, match=r"only Vector tokens .* gives Codes"):
        PatchedConfig(tiny.autoencoder(), 2).build()
    drafts = PyramidConfig(AutoencoderConfig(tiny.vit(), tiny.vit(), KLConfig(4)))
    with pytest.raises(ValueError, match=r"has 2 rows and columns, the tokenizer inside has a grid \(2, 1\)"):
        PatchedConfig(drafts, 2).build().layout(8, 4)


@torch.no_grad()
def test_bits_on_several_grids_are_seen_in_patches_and_flipped_ones_too():
    torch.manual_seed(0)
    scales = BSQScalesConfig(3, (((2, 2), (4, 2), (8, 4)),), flip=0.5)
    outer = PatchedConfig(AutoencoderConfig(tiny.vit(), tiny.vit(), scales), 2).build()
    inner, layout, pixels = outer.tokenizer, outer.layout(8, 4), tiny.pixels(2)
    inside = inner.layout(8, 4)
    assert outer.space == Bits(12) and layout == Layout(((1, 1), (2, 1)), (4, 2)) and outer.inner(layout) == inside
    one, two = outer.encode(pixels, layout, Seeded([1, 2])), inner.encode(pixels, inside, Seeded([1, 2]))
    outer.space.check(one.target)
    assert not torch.equal(one.target, one.shown)
    for patches, tokens in ((one.target, two.target), (one.shown, two.shown)):
        assert torch.equal(patches[:, :1], joined(tokens[:, :4], 1, 2))
        assert torch.equal(patches[:, 1:], joined(tokens[:, 4:], 1, 2))
        assert torch.equal(outer.apart(patches, layout), tokens)
    known = torch.tensor([[True, True, False], [True, True, True]])
    cells = torch.tensor([[True] * 8 + [False] * 4, [True] * 12])
    assert torch.allclose(outer.decode(one.target, layout, known), inner.decode(two.target, inside, cells), atol=1e-6)
    quantizer, plain = outer.multiscale, inner.quantizer
    assert isinstance(quantizer, Multiscale) and quantizer.grids(2, 1) == layout.sizes
    assert quantizer.frame(2, 1) == layout.frame
    for scale in range(2):
        canvas = plain.canvas(two.shown, inside, scale)
        wanted = torch.nn.functional.pixel_unshuffle(canvas, 2)
        assert torch.equal(quantizer.canvas(one.shown, layout, scale), wanted)
    stroke = plain.stroke(two.shown[:, :4], inside, 0)
    assert torch.equal(quantizer.stroke(one.shown[:, :1], layout, 0), stroke)
    shrunk = torch.nn.functional.pixel_unshuffle(plain.shrink(stroke, inside, 0), 2)
    assert torch.equal(quantizer.shrink(stroke, layout, 0), shrunk)


def test_a_quantizer_of_one_grid_paints_on_no_several():
    assert patched().multiscale is None
