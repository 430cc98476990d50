"""Patches: neighbouring vectors in one token and back, in the order of channels, rows and columns."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from kiloword.noise import Seeded
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.kl import KLConfig
from kiloword.tokenizers.patched import Patched, PatchedConfig, joined, taken_apart
from kiloword.tokenizers.pyramid import PyramidConfig
from kiloword.tokens import Vector


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
    with pytest.raises(ValueError, match="of one grid, the tokenizer inside has 2"):
        PatchedConfig(drafts, 2).build().layout(8, 4)
