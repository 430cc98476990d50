"""The pages of VAR's and Infinity's tokenizers: published sizes are exact, names are the authors', recordings pass."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from kiloword import parts
from kiloword.published import infinity_vae, var_vae
from kiloword.published.convert import read_file
from kiloword.published.page import Page, fill, names_of
from kiloword.tokenizers.autoencoder import Autoencoder
from kiloword.verification.comparison import verify

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
PAGES = [var_vae.PAGE, infinity_vae.PAGE]
VARIANTS = [(page, name) for page in PAGES for name in page.variants]
RECORDED = ("var_vqvae", "var_vqvae_fulltopo", "var_quantizer10", "infinity_bsq_vae")
VAR = {**var_vae.PUBLISHED, "ch": 8, "ch_mult": [1, 2], "num_res_blocks": 1, "norm_groups": 4, "z_channels": 4,
       "vocab_size": 16, "v_patch_nums": [1, 2, 4]}  # fmt: skip
INFINITY = {"base_ch": 48, "num_res_blocks": 1, "patch_size": 4, "encoder_ch_mult": [1, 2, 1], "codebook_dim": 6,
            "decoder_ch_mult": [1, 1, 2]}  # fmt: skip


def made(page: Page, arguments: dict):
    with torch.device("meta"):
        return parts.build(page.parts(arguments))


def needed(page: Page, arguments: dict) -> set[str]:
    config = page.parts(arguments)
    return {name for source in names_of(page, config, made(page, arguments)).values() for name in source.names}


@pytest.mark.parametrize(("page", "name"), VARIANTS, ids=lambda value: getattr(value, "name", value))
def test_a_published_size_has_as_many_parameters_as_its_file(page, name):
    variant = page.variants[name]
    assert sum(weight.numel() for weight in made(page, variant.arguments).parameters()) == variant.parameters


def test_the_counts_are_those_of_the_facts():
    counts = {f"{page.name}/{name}": page.variants[name].parameters for page, name in VARIANTS}
    assert counts["var-vae/256"] == counts["var-vae/512"] == 108_948_355
    rounded = {name: round(count / 1e6, 1) for name, count in counts.items() if name.startswith("infinity")}
    assert rounded == {
        "infinity-vae/d16": 110.0,
        "infinity-vae/d24": 110.0,
        "infinity-vae/d32": 110.1,
        "infinity-vae/d32reg": 110.1,
        "infinity-vae/d64": 110.4,
        "infinity-vae/d56-f8-d14": 81.6,
    }
    encoder = made(infinity_vae.PAGE, infinity_vae.PAGE.variants["d32"].arguments).encoder
    assert round(sum(weight.numel() for weight in encoder.parameters()) / 1e6, 1) == 45.0


def test_the_weights_of_256_and_of_512_pixels_are_the_same_file():
    first, second = var_vae.PAGE.variants.values()
    assert first.files == second.files
    assert needed(var_vae.PAGE, first.arguments) == needed(var_vae.PAGE, second.arguments)


def test_tokens_of_published_sizes():
    for name, side, tokens in (("256", 256, 680), ("512", 512, 2240)):
        system = made(var_vae.PAGE, var_vae.PAGE.variants[name].arguments)
        assert system.layout(side, side).count == tokens
    infinity = made(infinity_vae.PAGE, infinity_vae.PAGE.variants["d32reg"].arguments)
    for side, tokens in ((256, 521), (512, 2521), (1024, 10521)):
        assert infinity.layout(side, side).count == tokens
    assert infinity.layout(256, 320).sizes == ((1, 1), (2, 2), (3, 3), (4, 5), (8, 10), (12, 15), (16, 20))
    eighth = made(infinity_vae.PAGE, infinity_vae.PAGE.variants["d56-f8-d14"].arguments)
    assert eighth.layout(1024, 1024).sizes == tuple((2 * h, 2 * w) for h, w in infinity.layout(1024, 1024).sizes)


@pytest.mark.parametrize("schedule", infinity_vae.schedules(), ids=lambda grids: f"{grids[-1][0]}x{grids[-1][1]}")
def test_published_shapes_have_the_published_grids(schedule):
    quantizer = made(infinity_vae.PAGE, infinity_vae.PAGE.variants["d16"].arguments).quantizer
    assert len(schedule) == 13 and quantizer.grids(*schedule[-1]) == schedule
    for count in (7, 10, 12):  # the pictures of 0.06, 0.25 and 0.6 million pixels
        assert quantizer.grids(*schedule[count - 1]) == schedule[:count]


@pytest.mark.skipif(not FIXTURES.exists(), reason="the folder of recordings is not there")
def test_a_published_size_has_the_keys_of_its_recorded_topology():
    with safe_open(FIXTURES / "var_vqvae_fulltopo" / "weights.safetensors", "pt") as file:
        sources = set(file.keys()) - {"quantize.ema_vocab_hit_SV"}
    assert needed(var_vae.PAGE, var_vae.PAGE.variants["256"].arguments) == sources


def test_names_that_the_facts_spell_out():
    var = needed(var_vae.PAGE, var_vae.PAGE.variants["256"].arguments)
    assert {"quantize.embedding.weight", "quantize.quant_resi.qresi_ls.3.bias", "post_quant_conv.bias"} <= var
    assert {"encoder.down.4.attn.1.qkv.weight", "decoder.up.4.attn.2.proj_out.bias", "decoder.conv_out.bias"} <= var
    assert not {name for name in var if ".down.3.attn" in name or ".qresi_ls.4." in name}
    infinity = needed(infinity_vae.PAGE, infinity_vae.PAGE.variants["d64"].arguments)
    assert {"encoder.down.0.downsample.conv.conv.weight", "decoder.mid.block_1.norm1.norm.weight"} <= infinity
    assert {"decoder.up.4.upsample.conv.conv.bias", "encoder.down.1.block.0.nin_shortcut.conv.weight"} <= infinity
    assert not {name for name in infinity if "attn" in name or "quant" in name or "down.4.downsample" in name}
    eighth = needed(infinity_vae.PAGE, infinity_vae.PAGE.variants["d56-f8-d14"].arguments)
    assert not {name for name in eighth if "down.3.downsample" in name or "down.4" in name or "up.4" in name}


@pytest.mark.parametrize(
    ("changes", "phis"),
    [
        ({"share_quant_resi": 0}, ["quant_resi.0", "quant_resi.1", "quant_resi.2"]),
        ({"share_quant_resi": 1}, ["quant_resi.qresi"]),
        ({"share_quant_resi": 2}, ["quant_resi.qresi_ls.0", "quant_resi.qresi_ls.1"]),
        ({"quant_resi": 0}, []),
    ],
)
@pytest.mark.parametrize("alone", [False, True])
def test_phis_are_named_after_how_they_are_shared(changes, phis, alone):
    arguments = {key: VAR[key] for key in ("vocab_size", "z_channels", "v_patch_nums")} if alone else VAR
    names = {name for name in needed(var_vae.PAGE, {**arguments, **changes}) if name.startswith("quantize.")}
    wanted = {f"quantize.{phi}.{kind}" for phi in phis for kind in ("weight", "bias")}
    assert names == wanted | {"quantize.embedding.weight"}


def test_arguments_of_the_authors_reach_the_parts():
    quantizer = var_vae.parts({**VAR, "quant_resi": -0.3, "using_znorm": True}).quantizer
    assert quantizer.mix == 0.3 and quantizer.by_angle and quantizer.scales == (1, 2, 4)
    config = infinity_vae.parts(INFINITY)
    assert config.encoder.widths == (48, 96, 48) and config.decoder.widths == (48, 48, 96)
    assert config.encoder.stride == 4 and [config.encoder.groups_of(c) for c in (48, 96, 72)] == [24, 32, 24]


def weights_of(page: Page, arguments: dict) -> tuple[Autoencoder, dict[str, torch.Tensor]]:
    """A small system with random weights, and these under the authors' names."""
    torch.manual_seed(0)
    config = page.parts(arguments)
    system = parts.build(config).eval()
    own = system.state_dict()
    return system, {source.names[0]: own[name] for name, source in names_of(page, config, system).items()}


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_infinitys_files_are_read_nested_or_flat_wrapped_or_bare(bare, nested, tmp_path):
    system, weights = weights_of(infinity_vae.PAGE, INFINITY)
    if bare:
        weights = {unwrapped(name): value for name, value in weights.items()}
        assert "encoder.down.0.downsample.conv.weight" in weights and "encoder.conv_in.weight" in weights
    weights |= {name: torch.arange(6) for name in ("quantizer.lfq.mask", "quantize.lfq.mask")}
    torch.save({"vae": weights, "ema": {}, "step": 3} if nested else weights, tmp_path / "vae.pth")
    found = read_file(tmp_path / "vae.pth", infinity_vae.PAGE.variants["d16"].files[0])
    config = infinity_vae.parts(INFINITY)
    copy = parts.build(config).eval()
    fill(infinity_vae.PAGE, config, copy, found)
    pixels = torch.randn(1, 3, 12, 20, generator=torch.Generator().manual_seed(1))
    layout = system.layout(12, 20)
    assert torch.equal(copy.encoder(pixels, layout), system.encoder(pixels, layout))
    result = system.encode(pixels, layout)
    known = torch.ones(result.target.shape[:2], dtype=torch.bool)
    assert torch.equal(copy.decode(result.target, layout, known), system.decode(result.target, layout, known))


def unwrapped(name: str) -> str:
    """`conv1.conv.weight` as `conv1.weight`."""
    module, kind = name.rsplit(".", 1)
    return f"{module.rsplit('.', 1)[0]}.{kind}"


def test_a_name_is_spelled_once_only():
    for name in needed(infinity_vae.PAGE, INFINITY):
        assert infinity_vae.canonical(name) == name == infinity_vae.canonical(unwrapped(name))
    for name in ("quantizer.lfq.mask", "something.else.weight"):
        assert infinity_vae.canonical(name) == name


def test_vars_counts_of_hits_are_ignored_whatever_their_size_and_wrong_weights_are_named():
    _, weights = weights_of(var_vae.PAGE, VAR)
    config = var_vae.parts(VAR)
    fill(var_vae.PAGE, config, parts.build(config), {**weights, "quantize.ema_vocab_hit_SV": torch.zeros(9, 2)})
    with pytest.raises(ValueError, match=r"1 unknown \(quantize.other\)"):
        fill(var_vae.PAGE, config, parts.build(config), {**weights, "quantize.other": torch.zeros(1)})
    weights["quantize.embedding.weight"] = torch.zeros(17, 4)
    with pytest.raises(ValueError, match=r"quantize.embedding.weight has shape \[17, 4\].*needs \[16, 4\]"):
        fill(var_vae.PAGE, config, parts.build(config), weights)


@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_stage_passes(name):
    if not (FIXTURES / name).exists():
        pytest.skip("the folder of recordings is not there")
    rows = list(verify(FIXTURES / name))
    assert rows and not [f"{row.tensor}: {row.error:.2e}" for row in rows if not row.passed]
    outputs = load_file(FIXTURES / name / "io.safetensors").keys() - {"image"}
    assert {row.tensor for row in rows} == {tensor for tensor in outputs if not tensor.startswith("in.")}
