"""Decoders opened through diffusers give what it gives, and obey the law; without diffusers the extra is named."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kiloword.decoders.decoder import Decoder, Effort
from kiloword.noise import Seeded
from kiloword.published.diffusers_decoders import open_decoder
from kiloword.tokens import Layout, Vector

LAYOUT = Layout(((3, 2),))


@pytest.fixture(scope="module")
def kl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder with a shift, 4 pixels a side for a latent."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 4, 4), norm_num_groups=2, latent_channels=5, scaling_factor=0.5, shift_factor=0.25,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("kl")
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def consistency(tmp_path_factory: pytest.TempPathFactory) -> Path:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = diffusers.ConsistencyDecoderVAE(
        encoder_block_out_channels=(4, 4), encoder_down_block_types=("DownEncoderBlock2D",) * 2,
        encoder_norm_num_groups=2, decoder_block_out_channels=(4, 4), decoder_norm_num_groups=2,
        decoder_down_block_types=("ResnetDownsampleBlock2D",) * 2, decoder_layers_per_block=1,
        decoder_up_block_types=("ResnetUpsampleBlock2D",) * 2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("consistency")
    network.save_pretrained(folder)
    return folder


def tokens(dim: int, count: int = 2) -> tuple[Tensor, Tensor]:
    """Latents, all of them known."""
    drawn = torch.randn(count, LAYOUT.count, dim, generator=torch.Generator().manual_seed(1))
    return drawn, torch.ones(count, LAYOUT.count, dtype=torch.bool)


def decoded(decoder: Decoder, shown: Tensor, known: Tensor, seeds: list[int]) -> list:
    return list(decoder.decode_steps(shown, LAYOUT, known, decoder.effort, Seeded(seeds), torch.arange(len(seeds))))


def test_latents_are_scaled_back_as_pipelines_do(kl: Path):
    from diffusers import AutoencoderKL

    decoder, (shown, known) = open_decoder(kl), tokens(5)
    assert isinstance(decoder, Decoder) and decoder.space == Vector(5) and decoder.scale == 1
    [last] = decoded(decoder, shown, known, [0, 1])
    reference = AutoencoderKL.from_pretrained(kl).eval()
    with torch.no_grad():
        wanted = reference.decode(shown.mT.reshape(2, 5, 3, 2) / 0.5 + 0.25).sample
    assert last.pixels.shape == (2, 3, 12, 8) and torch.allclose(last.pixels, wanted, atol=1e-6)
    assert (last.step, last.steps, last.calls) == (1, 1, 1) and decoder.steps(LAYOUT, decoder.effort) == 0
    assert torch.equal(decoder.preview(shown, LAYOUT, known), last.pixels)


def test_a_consistency_decoder_draws_what_diffusers_draws(consistency: Path):
    from diffusers import ConsistencyDecoderVAE

    decoder, (shown, known) = open_decoder(consistency), tokens(4, count=1)
    assert isinstance(decoder, Decoder) and decoder.space == Vector(4)
    first, last = decoded(decoder, shown, known, [7])
    reference, generator = ConsistencyDecoderVAE.from_pretrained(consistency).eval(), torch.Generator().manual_seed(7)
    with torch.no_grad():
        latents = shown.mT.reshape(1, 4, 3, 2) / reference.config.scaling_factor
        wanted = reference.decode(latents, generator=generator).sample
    assert torch.allclose(last.pixels, wanted, atol=1e-5) and not torch.allclose(first.pixels, wanted, atol=1e-3)
    assert (last.step, last.steps, last.calls) == (2, 2, 2) and decoder.steps(LAYOUT, decoder.effort) == 2
    assert decoder.preview(shown, LAYOUT, known).shape == (1, 3, 6, 4)


def test_a_picture_does_not_depend_on_the_batch(consistency: Path):
    decoder, (shown, known) = open_decoder(consistency), tokens(4)
    both, second = decoded(decoder, shown, known, [3, 4])[-1], decoded(decoder, shown[1:], known[1:], [4])[-1]
    assert torch.allclose(both.pixels[1:], second.pixels, atol=1e-5)


def test_unknown_tokens_are_not_looked_at(kl: Path):
    decoder, (shown, known) = open_decoder(kl), tokens(5)
    other = shown.clone()
    known[:, 3:], other[:, 3:] = False, 9
    assert torch.equal(decoder.preview(shown, LAYOUT, known), decoder.preview(other, LAYOUT, known))


def test_the_scale_is_what_it_draws_for_a_pixel_of_the_tokenizer(kl: Path):
    assert open_decoder(kl, stride=2).scale == 2 and open_decoder(kl, stride=2).stride == 2
    assert open_decoder(kl).stride == 4
    with pytest.raises(ValueError, match="4 pixels a side for a token, no multiple of 3"):
        open_decoder(kl, stride=3)


def test_what_cannot_be_decoded_is_refused(kl: Path, consistency: Path):
    decoder, (shown, known) = open_decoder(kl), tokens(5)
    with pytest.raises(ValueError, match="cannot clean up a picture"):
        start = torch.zeros(2, 3, 12, 8)
        next(decoder.decode_steps(shown, LAYOUT, known, Effort(), Seeded([0]), torch.arange(2), start))
    with pytest.raises(ValueError, match=r"have shape \[b, n, 5\]"):
        decoder.preview(shown[..., :4], LAYOUT, known)
    with pytest.raises(ValueError, match="latents lie in one grid"):
        decoder.preview(shown, Layout(((1, 2), (2, 2))), known)
    for effort in (Effort(4), Effort(2, guidance=2.0), Effort(2, 4, 1.0)):
        with pytest.raises(ValueError, match="draws in 2 steps, without groups or guidance"):
            open_decoder(consistency).steps(LAYOUT, effort)


def test_what_is_no_such_decoder_is_refused(kl: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="is no folder of diffusers"):
        open_decoder(tmp_path / "nothing")
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    with pytest.raises(ValueError, match="holds a UNet2DModel: kiloword takes AutoencoderKL or ConsistencyDecoderVAE"):
        open_decoder(tmp_path)
    (tmp_path / "config.json").write_text((kl / "config.json").read_text())
    with pytest.raises(ValueError, match="diffusers cannot open the AutoencoderKL in"):
        open_decoder(tmp_path)


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    with pytest.raises(ValueError, match=r"takes: pip install 'kiloword\[diffusers\]'$"):
        open_decoder(tmp_path)
