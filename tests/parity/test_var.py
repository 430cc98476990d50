"""VAR's page: published sizes are exact, names are the authors', and every drawing gives the authors' results."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from kiloword import parts
from kiloword.document import to_draw
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.engine.guidance import GuidanceConfig
from kiloword.engine.painter import Painter
from kiloword.heads.head import Sampling, gumbel_softmax
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.published import var, var_vae
from kiloword.published.convert import read_variant
from kiloword.published.page import fill, names_of
from kiloword.verification import var_stages
from kiloword.verification.comparison import compare, rebuild
from kiloword.verification.hooks import recorded_calls
from kiloword.verification.proof import Record

HERE = Path(__file__).parent / "recordings" / "var_transformer_saln"
PLAIN = Path(__file__).parents[3] / "shared" / "fixtures" / "var_transformer"
FOLDERS = [HERE, pytest.param(PLAIN, marks=pytest.mark.skipif(not PLAIN.exists(), reason="recording is not there"))]
SMALL = {"V": 16, "Cvae": 4, "ch": 8, "ch_mult": [1, 2], "num_res_blocks": 1, "norm_groups": 4, "depth": 2,
         "patch_nums": [1, 2, 4], "num_classes": 5, "embed_dim": 12, "num_heads": 3}  # fmt: skip
LATENTS = {name: value for name, value in SMALL.items() if name != "ch"}


def made(arguments: dict) -> ImageModel:
    with torch.device("meta"):
        return parts.build(var.parts(arguments))


def needed(arguments: dict) -> set[str]:
    names = names_of(var.PAGE, var.parts(arguments), made(arguments))
    return {name for source in names.values() for name in source.names}


def recorded(folder: Path) -> Record:
    settings, tensors = json.loads((folder / "config.json").read_text()), load_file(folder / "io.safetensors")
    return rebuild(var.PAGE, folder, settings, tensors)


def random(arguments: dict, seed: int = 0) -> ImageModel:
    torch.manual_seed(seed)
    model = parts.build(var.parts(arguments)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("name", var.VARIANTS)
def test_a_published_size_has_the_published_count_beside_its_tokenizer(name):
    variant = var.VARIANTS[name]
    model = made(variant.arguments)
    tokenizer = sum(weight.numel() for weight in model.picture.tokenizer.parameters())
    assert tokenizer == var_vae.PAGE.variants["256"].parameters
    assert sum(weight.numel() for weight in model.parameters()) - tokenizer == variant.parameters
    side = 512 if name == "d36" else 256
    assert model.picture.tokenizer.layout(side, side).count == model.picture.head.entrance.config.positions
    assert var.card(name).sizes == ((side, side),)


def test_the_counts_are_those_of_the_facts():
    rounded = {name: round(variant.parameters / 1e6, 1) for name, variant in var.VARIANTS.items()}
    assert rounded == {"d16": 310.3, "d20": 600.9, "d24": 1033.4, "d30": 2010.0, "d36": 2353.9}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", var.VARIANTS)
def test_a_published_size_has_the_keys_of_its_recorded_topology(folder, name):
    arguments = var.VARIANTS[name].arguments
    if arguments["shared_aln"] != (folder == HERE):
        return
    keys = set()
    for file in ("weights", "vae_quantize"):
        with safe_open(folder / f"{file}.safetensors", "pt") as opened:
            keys |= set(opened.keys())
    block = {key.removeprefix("blocks.0.") for key in keys if key.startswith("blocks.0.")}
    wanted = {key for key in keys if not key.startswith("blocks.")}
    wanted |= {f"blocks.{number}.{key}" for number in range(arguments["depth"]) for key in block}
    wanted -= {"lvl_1L", "attn_bias_for_masking", "quantize.ema_vocab_hit_SV"}
    wanted = {key for key in wanted if not key.endswith("zero_k_bias")}
    keys = needed(arguments)
    networks = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
    assert {key for key in keys if not key.startswith(networks)} == wanted
    vae = var_vae.PAGE.variants["256"].arguments
    sources = names_of(var_vae.PAGE, var_vae.parts(vae), made(arguments).picture.tokenizer)
    assert {key for key in keys if key.startswith((*networks, "quantize."))} == {
        key for source in sources.values() for key in source.names
    }


@pytest.mark.parametrize("changes", [
    {}, {"shared_aln": True}, {"attn_l2_norm": False}, {"share_quant_resi": 1}, {"share_quant_resi": 0, "depth": 1},
])  # fmt: skip
def test_two_files_as_they_were_published_make_a_whole_model(changes, tmp_path):
    arguments = {**SMALL, **changes}
    config, model = var.parts(arguments), random(arguments)
    back = source_weights(model, config)
    vae = ("encoder.", "decoder.", "quant", "post_quant")
    buffers = {"lvl_1L": torch.zeros(1, 21).long(), "attn_bias_for_masking": torch.zeros(1, 1, 21, 21)}
    buffers |= {f"blocks.{number}.attn.zero_k_bias": torch.zeros(12) for number in range(arguments["depth"])}
    hits = {"quantize.ema_vocab_hit_SV": torch.zeros(3, 16)}
    files = {"var.pth": {n: v for n, v in back.items() if not n.startswith(vae)} | buffers,
             "vae.pth": {n: v for n, v in back.items() if n.startswith(vae)} | hits}  # fmt: skip
    for name, weights in files.items():
        torch.save(weights, tmp_path / name)
    found = read_variant([tmp_path / name for name in files], var.VARIANTS["d16"])
    copy = parts.build(config).eval()
    fill(var.PAGE, config, copy, found)
    for name, value in model.state_dict().items():
        assert torch.equal(copy.state_dict()[name], value), name
    assert any("scale_mul" in name for name in back) == changes.get("attn_l2_norm", True)
    del found["blocks.0.attn.q_bias"]
    with pytest.raises(ValueError, match=r"1 missing \(blocks.0.attn.q_bias\)"):
        fill(var.PAGE, config, copy, found)


def source_weights(model: ImageModel, config: parts.ImageModelConfig) -> dict[str, torch.Tensor]:
    """Weights under the authors' names, in their arrangement."""
    order_of_source = tuple(var.HALVES.index(number) for number in range(6))
    back, names = {}, names_of(var.PAGE, config, model)
    for name, value in model.state_dict().items():
        (source,) = names[name].names
        if source.endswith("ada_gss"):
            value = value[list(order_of_source)][None, None]
        elif "ada_lin" in source:
            value = var.reordered(value, (1, 0) if source.startswith("head_nm") else order_of_source)
        back[source] = value
    return back


def test_gates_come_first_in_the_authors_matrices_and_last_here():
    source = torch.tensor([1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6])  # two gates, two scales, two shifts, of width 2
    assert var.reordered(source, var.HALVES).tolist() == [5, 5, 3, 3, 1, 1, 6, 6, 4, 4, 2, 2]
    assert var.reordered(torch.arange(4), (1, 0)).tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("folder", FOLDERS)
@torch.no_grad()
def test_the_slow_way_draws_what_was_recorded_too(folder):
    record = recorded(folder)
    tensors, sides = record.tensors, record.arguments["patch_nums"]
    layout = record.system.picture.tokenizer.layout(sides[-1], sides[-1])
    labels, cfg = tensors["in.labels"].tolist(), float(tensors["in.cfg"])
    chance = Sampling(top_k=int(tensors["in.top_k"]), top_p=float(tensors["in.top_p"]))
    likeliest = Sampling(temperature=0)
    for name, guided, sampling, noise in (
        ("greedy0", 0.0, likeliest, Seeded([0] * len(labels))),
        ("greedy_cfg", cfg, likeliest, Seeded([0] * len(labels))),
        ("samp", cfg, chance, var_stages.Flat(tensors["in.uniforms"])),
    ):
        slow = var_stages.drawn(record.system, layout, labels, guided, sampling, noise, ImageModel.draw)
        assert torch.equal(slow.tokens, tensors[f"out.{name}_ids"])


@pytest.mark.parametrize("folder", FOLDERS)
@torch.no_grad()
def test_cached_and_teacher_forced_agree(folder):
    """With all tokens given the cached way reads what training reads."""
    record = recorded(folder)
    tensors, system, sides = record.tensors, record.system, record.arguments["patch_nums"]
    layout, ids = system.picture.tokenizer.layout(sides[-1], sides[-1]), tensors["in.ids"]
    opening = system.opening(to_draw(tensors["in.labels"].tolist(), layout))
    everything = torch.ones_like(ids, dtype=torch.bool)
    drawing = Drawing(layout, [opening], torch.ones(1, len(ids)), tokens=ids, given=everything)
    output, noise = system.picture.head.output, Seeded(range(len(ids)))
    _, answers = recorded_calls(output, lambda: list(draw(system, drawing, noise)))
    assert compare("var", "logits", torch.cat(answers, 2)[0], tensors["out.tf_logits"]).passed


@torch.no_grad()
def test_gumbel_noise_survives_the_way_through_uniform_numbers():
    gumbel = load_file(HERE / "io.safetensors")["in.gumbel"]
    extremes = torch.cat([gumbel.double(), torch.tensor([-6.0, 30.0], dtype=torch.float64)])
    uniform = (-(-extremes).exp()).exp()
    smooth = var_stages.smooth(Sampling(), 2)[0].soft
    wanted = (extremes / smooth.temperature).softmax(-1)
    assert torch.allclose(gumbel_softmax(torch.zeros_like(extremes), smooth, uniform), wanted, rtol=1e-2, atol=1e-12)
    assert torch.allclose(-(-uniform.log()).log(), extremes, rtol=0, atol=1e-3)


def test_the_smooth_way_becomes_sharper_from_grid_to_grid():
    plain = Sampling(top_k=7, top_p=0.5)
    first, *_, last = steps = var_stages.smooth(plain, 10)
    assert len(steps) == 10 and all(replace(step, soft=None) == plain for step in steps)
    assert math.isclose(first.soft.temperature, 0.27) and first.soft.gain == 1
    assert math.isclose(last.soft.temperature, 0.27 * 0.05) and last.soft.gain == 2
    assert var_stages.smooth(plain, 1)[0].soft == first.soft


@torch.no_grad()
def test_a_picture_is_edited_by_giving_tokens_of_all_grids():
    """Zero-shot editing, section 5.3 of the paper: what lies outside the hole is given on every grid."""
    model = random(LATENTS)
    layout = model.picture.tokenizer.layout(4, 4)
    tokens = torch.randint(16, (2, 21), generator=torch.Generator().manual_seed(1))
    given = torch.ones(2, 21, dtype=torch.bool)
    given[:, layout.part(-1)] = torch.arange(16) % 4 < 2
    given[1, layout.part(1)] = torch.tensor([True, False, True, False])
    views = [model.opening(to_draw([3, 1], layout), null) for null in (False, True)]
    weights = GuidanceConfig("ramp").weights(2.5, model.picture.order.schedule(layout, 2, None, None))
    drawing = Drawing(layout, views, weights, tokens=tokens, given=given)
    edited = [list(way(model, drawing, Seeded([1, 2])))[-1].tokens for way in (draw, ImageModel.draw)]
    assert torch.equal(*edited) and torch.equal(edited[0][given], tokens[given])
    assert (edited[0] != tokens)[~given].any()
    anew = list(draw(model, replace(drawing, given=None, tokens=None), Seeded([1, 2])))[-1].tokens
    assert not torch.equal(anew, edited[0])


@torch.no_grad()
def test_a_page_with_networks_draws_pictures_of_a_class():
    model = random(SMALL)
    card = replace(var.card("d16"), sizes=((8, 8),), classes="")
    first, second = Painter(model, card).generate("3", n=2, seed=4)
    assert first.size == (8, 8) and first.tobytes() != second.tobytes()


def test_the_card_says_how_the_authors_measure():
    card = var.card("d30")
    assert (card.guidance, card.course, card.top_k, card.top_p) == (2.5, "ramp", 900, 0.96)
    assert (card.prompts, card.classes) == ("class", "imagenet")


def test_logits_that_are_left_out_have_to_be_the_same_ones():
    reference = torch.tensor([1.0, -math.inf, 2.0])
    assert compare("var", "kept", reference.clone(), reference).error == 0
    for wrong in ([1.0, 5.0, 2.0], [-math.inf, -math.inf, 2.0], [1.0, math.inf, 2.0], [1.0, math.nan, 2.0]):
        assert not compare("var", "kept", torch.tensor(wrong), reference).passed
