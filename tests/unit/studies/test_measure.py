"""Figures of a tokenizer: exact where they can be known, whatever the machine."""

import pytest
import torch

import icons
import tiny
from kiloword.evaluation.codebook import codebook_use
from kiloword.recipes.training_set import Pictures
from kiloword.studies.measure import distance_between, encoded, measure, rebuilt, speeds
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.palette import PaletteConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.training.augmentation import to_bytes

SIDE = 16


@pytest.fixture
def pictures() -> Pictures:
    values = torch.stack([to_bytes(icons.icon(number), 2 * SIDE) for number in range(8)])
    weights = torch.ones(8)
    weights[5:] = 0
    return Pictures(values, [{}] * 8, weights, torch.tensor([5, 6, 7]))


def palette(size: int = 40):
    network = PixelwiseConfig(1, 4)
    return AutoencoderConfig(network, network, PaletteConfig(size, 4)).build()


def test_a_palette_with_all_colours_loses_nothing(pictures: Pictures):
    tokenizer = palette(400)
    held_out = torch.nn.functional.avg_pool2d(pictures.values[5:] / 127.5 - 1, 2)
    bytes_of = ((held_out + 1) * 127.5).round().to(torch.uint8)
    colours = torch.unique(bytes_of.movedim(1, -1).flatten(0, 2), dim=0)
    tokenizer.quantizer.colours[: len(colours)] = colours / 127.5 - 1
    found = measure(tokenizer, pictures, SIDE)
    assert found["psnr"] == pytest.approx(100) and found["ssim"] == pytest.approx(1)
    assert found["kernel_distance"]["gradients"] == {"value": 0, "low": 0, "high": 0}
    assert found["tokens"] == found["numbers"] == 256 and found["bits"] == pytest.approx(256 * 8.643856)
    assert found["parameters"] == {"encoder": 0, "quantizer": 0, "decoder": 0}


def test_codes_are_counted_over_what_is_learned(pictures: Pictures):
    torch.manual_seed(0)
    tokenizer = AutoencoderConfig(tiny.vit(), tiny.vit(), tiny.QUANTIZERS["vq"]).build()
    found = measure(tokenizer, pictures, SIDE)
    layout = tokenizer.layout(SIDE, SIDE)
    small = torch.nn.functional.avg_pool2d(pictures.values[:5] / 127.5 - 1, 2)  # of at most 6
    tokens = encoded(tokenizer, ((small + 1) * 127.5).round().to(torch.uint8), layout)
    use = codebook_use(tokens, tokenizer.space)
    assert found["usage"] == pytest.approx(float(use["usage"]), abs=0.07)  # rounding may move a code
    assert found["parameters"]["encoder"] == sum(p.numel() for p in tokenizer.encoder.parameters()) > 0


def test_continuous_tokens_have_numbers_and_no_bits(pictures: Pictures):
    torch.manual_seed(0)
    found = measure(AutoencoderConfig(tiny.vit(), tiny.vit(), tiny.QUANTIZERS["kl"]).build(), pictures, SIDE)
    assert found["bits"] is None and found["numbers"] == 64 * 4 and "usage" not in found


def test_what_is_rebuilt_can_be_shown_and_does_not_depend_on_the_batch(pictures: Pictures, monkeypatch):
    torch.manual_seed(0)
    tokenizer = AutoencoderConfig(tiny.vit(), tiny.vit(), tiny.QUANTIZERS["fsq"]).build().eval()
    whole = rebuilt(tokenizer, pictures.values)
    assert whole.dtype == torch.uint8 and (whole[:, :3] <= whole[:, 3:]).all()
    monkeypatch.setattr("kiloword.studies.measure.CHUNK", 3)
    assert (whole.int() - rebuilt(tokenizer, pictures.values).int()).abs().max() <= 1


def test_the_distance_is_in_units_of_other_pictures(pictures: Pictures):
    others, true = pictures.values[:5], pictures.values[5:]
    worse = true.flip(3)
    assert (
        distance_between("pixels", true, true, others).value
        == 0
        != distance_between("pixels", worse, true, others).value
    )


def test_speeds_are_of_both_ways_and_of_all(pictures: Pictures):
    found = speeds({"one": palette(), "other": palette()}, pictures.values, rounds=1)
    assert found.keys() == {"one", "other"} and all(min(way.values()) > 0 for way in found.values())
