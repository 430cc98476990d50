"""The pages of the convolutional autoencoders: published sizes are exact, and names are found at any other size."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kiloword import parts
from kiloword.published import chameleon, ldm, llamagen_vq, mar_kl16
from kiloword.published.page import Page, fill, names_of
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.kl import KLConfig
from kiloword.verification.comparison import verify

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
PAGES = [llamagen_vq.PAGE, mar_kl16.PAGE, chameleon.PAGE]
VARIANTS = [(page, name) for page in PAGES for name in page.variants]
RECORDED = {
    "llamagen_vq": llamagen_vq.PAGE,
    "llamagen_vq16_fulltopo": llamagen_vq.PAGE,
    "mar_kl16": mar_kl16.PAGE,
    "mar_kl16_fulltopo": mar_kl16.PAGE,
    "chameleon_vqgan": chameleon.PAGE,
}
NETWORKS = [
    CNNConfig(4, (1, 2, 3), 1, (0, 2), groups=(2,), z=5),
    CNNConfig(6, (2, 1), 3, (), middle=0, groups=(4, 3), downs=0, z=3, bridge=0),
    CNNConfig(4, (1, 1, 2, 1), 2, (1, 2, 3), groups=(4,), downs=2, z=7, bridge=3),
    CNNConfig(8, (3,), 1, (0,), groups=(8,), z=2, channels=4),
]
DIALECTS = [
    ldm.LDM,
    llamagen_vq.DIALECT,
    ldm.Dialect(fused=True),
    ldm.Dialect(wrapped=True),
    ldm.Dialect(fused=True, wrapped=True, coarse_first=True),
]


def made(page: Page, arguments: dict):
    with torch.device("meta"):
        return parts.build(page.parts(arguments))


def needed(page: Page, config, system) -> list[str]:
    return [name for source in names_of(page, config, system).values() for name in source.names]


@pytest.mark.parametrize(("page", "name"), VARIANTS, ids=lambda value: getattr(value, "name", value))
def test_a_published_size_has_as_many_parameters_as_its_file(page, name):
    variant = page.variants[name]
    assert sum(weight.numel() for weight in made(page, variant.arguments).parameters()) == variant.parameters


def test_the_counts_are_those_of_the_facts():
    counts = {f"{page.name}/{name}": page.variants[name].parameters for page, name in VARIANTS}
    assert counts == {
        "llamagen-vq/16": 71_883_403,
        "llamagen-vq/8": 70_109_835,
        "llamagen-vq/16-t2i": 71_883_403,
        "mar-kl16/16": 66_456_019,
        "chameleon-vqgan/8192": 68_718_467,
    }


FULL = {
    ("llamagen-vq", "16"): "llamagen_vq16_fulltopo",
    ("mar-kl16", "16"): "mar_kl16_fulltopo",
}


@pytest.mark.skipif(not FIXTURES.exists(), reason="the folder of recordings is not there")
@pytest.mark.parametrize(("page", "name"), [case for case in VARIANTS if (case[0].name, case[1]) in FULL],
                         ids=lambda value: getattr(value, "name", value))  # fmt: skip
def test_a_published_size_has_the_keys_of_its_recorded_topology(page, name):
    sources = load_file(FIXTURES / FULL[page.name, name] / "weights.safetensors").keys()
    variant = page.variants[name]
    config = page.parts(variant.arguments)
    assert set(needed(page, config, made(page, variant.arguments))) == sources - {"quantize.codebook_used"}


def test_names_that_the_facts_spell_out():
    def keys(page: Page, name: str) -> set[str]:
        arguments = page.variants[name].arguments
        return set(needed(page, page.parts(arguments), made(page, arguments)))

    vq8, kl16, vqgan = keys(llamagen_vq.PAGE, "8"), keys(mar_kl16.PAGE, "16"), keys(chameleon.PAGE, "8192")
    assert {"encoder.conv_blocks.3.attn.1.q.weight", "decoder.conv_blocks.0.attn.2.proj_out.bias"} <= vq8
    assert {"encoder.mid.0.norm1.weight", "decoder.mid.1.v.weight", "decoder.conv_blocks.2.upsample.conv.bias"} <= vq8
    assert not {name for name in vq8 if name.startswith("decoder.conv_blocks.3.upsample")}
    assert {"encoder.down.4.attn.1.k.weight", "decoder.mid.attn_1.norm.weight", "post_quant_conv.weight"} <= kl16
    assert not {name for name in kl16 if name.startswith("decoder.up") and ".attn." in name}
    assert {"decoder.up.4.upsample.conv.weight", "encoder.down.2.block.0.nin_shortcut.weight"} <= vqgan
    assert not {name for name in vqgan if ".attn." in name} and "quantize.embedding.weight" in vqgan


@pytest.mark.parametrize("dialect", DIALECTS, ids=range(len(DIALECTS)))
@pytest.mark.parametrize("network", NETWORKS, ids=range(len(NETWORKS)))
def test_every_weight_has_a_name_of_its_own_at_any_size(network, dialect):
    encoder = replace(network, z=2 * network.z)
    config = AutoencoderConfig(encoder, network, KLConfig(network.z))
    with torch.device("meta"):
        system = config.build()
    found = {name: ldm.source_name(name, config, dialect).names for name in system.state_dict()}
    flat = [name for names in found.values() for name in names]
    assert len(set(flat)) == len(flat)
    joined = {name for name, names in found.items() if len(names) == 3}
    assert joined == (set() if dialect.fused else {name for name in found if ".qkv." in name})


@pytest.mark.parametrize("network", NETWORKS, ids=range(len(NETWORKS)))
def test_weights_under_their_names_come_back_as_they_were(network):
    """Kept apart under the authors' names and joined again, a system computes the same."""
    config = AutoencoderConfig(replace(network, z=2 * network.z), network, KLConfig(network.z))
    page = replace(mar_kl16.PAGE, parts=lambda arguments: config)
    first, second = config.build().eval(), config.build().eval()
    sources = {}
    for name, source in names_of(page, config, first).items():
        value = first.state_dict()[name]
        sources |= dict(zip(source.names, value.chunk(len(source.names)), strict=True))
    fill(page, config, second, sources)
    pixels = torch.randn(1, network.channels, 2 * network.stride, 3 * network.stride)
    layout = first.layout(*pixels.shape[2:])
    latent = first.encode(pixels, layout).latent
    assert torch.equal(latent, second.encode(pixels, layout).latent)
    assert torch.equal(first.decoder(latent, layout), second.decoder(latent, layout))


def test_decoder_levels_are_counted_from_the_pixels_or_as_they_are_run():
    config = AutoencoderConfig(NETWORKS[0], NETWORKS[0], KLConfig(5))
    name = "decoder.levels.0.blocks.1.shortcut.weight"
    assert ldm.source_name(name, config).names == ("decoder.up.2.block.1.nin_shortcut.weight",)
    names = ldm.source_name(name, config, llamagen_vq.DIALECT).names
    assert names == ("decoder.conv_blocks.0.res.1.nin_shortcut.weight",)
    wrapped = ldm.source_name("encoder.levels.1.resample.conv.bias", config, ldm.Dialect(wrapped=True)).names
    assert wrapped == ("encoder.down.1.downsample.conv.conv.bias",)
    wrapped = ldm.source_name("decoder.norm.bias", config, ldm.Dialect(wrapped=True)).names
    assert wrapped == ("decoder.norm_out.norm.bias",)


def test_attention_is_placed_by_nominal_sides():
    arguments = {**mar_kl16.KL16, "enc_attn_resolutions": [64, 32, 7]}
    config = mar_kl16.parts(arguments)
    assert config.encoder.attention == (2, 3) and config.decoder.attention == ()
    inner = {**chameleon.NETWORKS, "ch_mult": [1, 1, 2], "resolution": 50, "attn_resolutions": [25, 24]}
    config = chameleon.parts({"ddconfig": inner, "n_embed": 8, "embed_dim": 4})
    assert config.encoder.attention == (1,) and config.decoder.attention == (1,)
    inner["attn_resolutions"] = [48]
    config = chameleon.parts({"ddconfig": inner, "n_embed": 8, "embed_dim": 4})
    assert config.encoder.attention == () and config.decoder.attention == (0,)


@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_stage_passes(name):
    if not (FIXTURES / name).exists():
        pytest.skip("the folder of recordings is not there")
    rows = list(verify(FIXTURES / name))
    assert rows and not [f"{row.tensor}: {row.error:.2e}" for row in rows if not row.passed]
    outputs = load_file(FIXTURES / name / "io.safetensors").keys() - {"image", "min_distance_margin"}
    assert {row.tensor for row in rows} == {name for name in outputs if not name.startswith("in.")}
