"""Tiled is whole: exactly where all norms are measured, nearly where they are in a part of each tile."""

import pytest
import torch
from torch import nn

import tiny
from kiloword.engine.tiles import Moments, Tiling, cover, decode_tiled, encode_tiled
from kiloword.published.llamagen_vq import parts
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.dvae import DVAEConfig
from kiloword.tokenizers.vq import VQConfig

NETWORK = CNNConfig(8, (1, 2), blocks=1, middle=1, groups=(4,), z=6)
TOPOLOGY = {"ch": 4, "ch_mult": (1, 1, 2, 2, 4), "num_res_blocks": 2, "norm_groups": 2, "z_channels": 6,
            "codebook_size": 32, "codebook_embed_dim": 4, "l2_norm": True}  # fmt: skip
SEES = 16  # tokens to each side that a place of the small network can hear of


@pytest.fixture(scope="module")
def tokenizer():
    torch.manual_seed(0)
    return AutoencoderConfig(NETWORK, NETWORK, VQConfig(32, 4)).build().eval()


@torch.no_grad()
def drawn(tokenizer, h=40, w=28, batch=2):
    layout = tokenizer.layout(tokenizer.stride * h, tokenizer.stride * w)
    tokens = torch.randint(32, (batch, layout.count), generator=torch.Generator().manual_seed(1))
    return tokens, layout, tokenizer.decode(tokens, layout, torch.ones_like(tokens, dtype=torch.bool))


def apart(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def test_all_measured_and_a_wide_overlap_give_the_whole(tokenizer):
    tokens, layout, whole = drawn(tokenizer)
    tiled = decode_tiled(tokenizer, tokens, layout, tiling=Tiling(12, SEES, measured=1.0, whole=0))
    assert tiled.shape == whole.shape and apart(tiled, whole) < 1e-4


@pytest.mark.parametrize("whole", [0, 2**14, 2**16])
def test_vq16_in_double_precision_is_the_same_in_tiles_however_its_steps_are_divided(whole):
    torch.manual_seed(0)
    tokenizer = tiny.awake(parts(TOPOLOGY).build()).eval().double()
    tokens, layout, untiled = drawn(tokenizer, 9, 11, batch=1)
    tiling = Tiling(side=6, overlap=8, whole=whole)
    assert apart(decode_tiled(tokenizer, tokens, layout, tiling=tiling), untiled) < 1e-6
    pixels = torch.rand(1, 3, 9 * 16, 11 * 16, generator=torch.Generator().manual_seed(2)).double() * 2 - 1
    tokenizer.quantizer.float()
    with torch.no_grad():
        assert torch.equal(
            encode_tiled(tokenizer, pixels, layout, tiling=tiling).target, tokenizer.encode(pixels, layout).target
        )


def test_a_network_without_norms_needs_nothing_but_overlap():
    config = DVAEConfig(width=8, blocks=1, groups=3)
    tokenizer = AutoencoderConfig(config, config, VQConfig(32, 4)).build().eval()
    tokens, layout, untiled = drawn(tokenizer, 13, 10)
    assert apart(decode_tiled(tokenizer, tokens, layout, tiling=Tiling(4, 6, measured=0.0)), untiled) < 1e-6
    assert apart(decode_tiled(tokenizer, tokens, layout, tiling=Tiling(4, 0, measured=0.0)), untiled) > 1e-3


def test_networks_that_see_everything_are_drawn_tile_by_tile():
    tokenizer = tiny.autoencoder().build().eval()
    tokens = torch.zeros(1, 35, 2, dtype=torch.long)
    layout = tokenizer.layout(14, 10)
    assert decode_tiled(tokenizer, tokens, layout, tiling=Tiling(3, 1)).shape == (1, 4, 14, 10)


def test_unknown_tokens_are_as_in_the_whole(tokenizer):
    tokens, layout, _ = drawn(tokenizer, 8, 6)
    known = torch.arange(layout.count).expand(2, -1) % 3 > 0
    tiled = decode_tiled(tokenizer, tokens, layout, known, Tiling(4, SEES, whole=0))
    with torch.no_grad():
        assert apart(tiled, tokenizer.decode(tokens, layout, known)) < 1e-4


def test_norms_are_themselves_again_after_a_failure(tokenizer):
    tokens, layout, whole = drawn(tokenizer, 8, 6)

    def interrupt(*said):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_tiled(tokenizer, tokens, layout, None, Tiling(4, 1, whole=0), interrupt)
    assert torch.equal(drawn(tokenizer, 8, 6)[2], whole)
    assert not any("forward" in vars(module) for module in tokenizer.modules())


def test_moments_of_parts_are_those_of_the_whole():
    norm = nn.GroupNorm(2, 4, eps=1e-6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    picture = torch.randn(2, 4, 6, 5) * 3 + 100
    moments = Moments(2, 2, picture.device)
    for part in (picture[..., :1, :], picture[..., 1:, :2], picture[..., 1:, 2:]):
        moments.add(part)
    assert torch.allclose(moments.normalise(picture, norm), norm(picture), atol=1e-4)


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
