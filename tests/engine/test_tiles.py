"""Tiled is whole: exactly where a network is local, nearly where its norms are measured in a part of each tile."""

import pytest
import torch

from kiloword.engine.tiles import Tiling, cover, decode_tiled, encode_tiled
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.vq import VQConfig

NETWORK = CNNConfig(8, (1, 2), blocks=1, middle=1, groups=(4,), z=6)
SEES = 16  # tokens to each side that a place of the small network can hear of


@pytest.fixture(scope="module")
def tokenizer():
    torch.manual_seed(0)
    return AutoencoderConfig(NETWORK, NETWORK, VQConfig(32, 4)).build().eval()


@torch.no_grad()
def drawn(tokenizer, h=40, w=28):
    layout = tokenizer.layout(2 * h, 2 * w)
    tokens = torch.randint(32, (2, layout.count), generator=torch.Generator().manual_seed(1))
    return tokens, layout, tokenizer.decode(tokens, layout, torch.ones_like(tokens, dtype=torch.bool))


def apart(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def test_all_measured_and_a_wide_overlap_give_the_whole(tokenizer):
    tokens, layout, whole = drawn(tokenizer)
    tiled = decode_tiled(tokenizer, tokens, layout, tiling=Tiling(12, SEES, measured=1.0, whole=0))
    assert tiled.shape == whole.shape and apart(tiled, whole) < 1e-4


def test_measured_norms_leave_smaller_seams_than_each_tiles_own(tokenizer):
    tokens, layout, whole = drawn(tokenizer)
    errors = [
        apart(decode_tiled(tokenizer, tokens, layout, tiling=Tiling(12, 4, measured, whole=0)), whole)
        for measured in (1.0, 0.5, 0.0)
    ]
    assert errors[0] < 0.1 and errors[0] < errors[1] < errors[2]


def test_seams_fade_as_tiles_overlap_further(tokenizer):
    tokens, layout, whole = drawn(tokenizer)
    tilings = [Tiling(12, overlap, measured=1.0, whole=0) for overlap in (1, 4, 8)]
    near, wider, widest = (apart(decode_tiled(tokenizer, tokens, layout, tiling=tiling), whole) for tiling in tilings)
    assert widest < 1e-3 < wider < near


def test_ids_of_a_picture_in_tiles_are_those_of_the_whole(tokenizer):
    pixels = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(2)) * 2 - 1
    layout = tokenizer.layout(64, 48)
    tiled = encode_tiled(tokenizer, pixels, layout, tiling=Tiling(10, SEES, measured=1.0, whole=0))
    whole = tokenizer.encode(pixels, layout)
    assert (tiled.target == whole.target).float().mean() > 0.99


def test_tiles_cover_every_token_once():
    count = torch.zeros(13, 7)
    for tile in cover((13, 7), Tiling(side=5, overlap=2)):
        count[tile.kept] += 1
        for kept, seen in zip(tile.kept, tile.seen, strict=True):
            assert seen.start <= kept.start and kept.stop <= seen.stop
    assert (count == 1).all()


def test_progress_is_told_and_bad_tilings_are_refused(tokenizer):
    heard = []
    tokens, layout, _ = drawn(tokenizer, 8, 8)
    decode_tiled(tokenizer, tokens, layout, None, Tiling(4, 1, whole=0), lambda *said: heard.append(said))
    assert heard[-1] == ("tiles done", 4, 4) and heard[0][0] == "norms measured"
    with pytest.raises(ValueError, match="at least one token a side"):
        Tiling(side=0)
    with pytest.raises(ValueError, match=r"this layout has 64 tokens, got \[2, 63\]"):
        decode_tiled(tokenizer, tokens[:, 1:], layout)
