"""Infinity's page: published sizes are exact, names are the authors', every guidance gives the authors' results."""

import json
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
from kiloword.engine.painter import Painter
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.published import infinity, infinity_vae
from kiloword.published.convert import read_variant
from kiloword.published.fetch import fetch
from kiloword.published.page import fill, names_of
from kiloword.tokens import Layout
from kiloword.verification.comparison import compare, rebuild
from kiloword.verification.hooks import recorded_calls
from kiloword.verification.infinity_stages import Flips, Scene
from kiloword.verification.proof import Record

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
FOLDERS = [FIXTURES / name for name in ("infinity_transformer", "infinity_transformer_patchify")]
recordings = pytest.mark.skipif(not FIXTURES.exists(), reason="the folder of recordings is not there")
SMALL = {"text_channels": 256, "text_maxlen": 7, "embed_dim": 48, "depth": 6, "num_heads": 2, "block_chunks": 3,
         "d_vae_codebook_dim": 5, "apply_spatial_patchify": 0}  # fmt: skip
NETWORKS = {"base_ch": 24, "num_res_blocks": 1, "patch_size": 4, "encoder_ch_mult": (1, 1, 2),
            "decoder_ch_mult": (1, 1, 2)}  # fmt: skip


def made(arguments: dict) -> ImageModel:
    with torch.device("meta"):
        return parts.build(infinity.parts(arguments))


def needed(arguments: dict) -> set[str]:
    names = names_of(infinity.PAGE, infinity.parts(arguments), made(arguments))
    return {name for source in names.values() for name in source.names}


def recorded(folder: Path) -> Record:
    settings, tensors = json.loads((folder / "config.json").read_text()), load_file(folder / "io.safetensors")
    return rebuild(infinity.PAGE, folder, settings, tensors)


def random(arguments: dict, seed: int = 0) -> ImageModel:
    torch.manual_seed(seed)
    model = parts.build(infinity.parts(arguments)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def by_hand(arguments: dict) -> int:
    """Parameters of the authors' transformer, counted from its shapes in the facts."""
    c, channels, depth = arguments["embed_dim"], arguments["text_channels"], arguments["depth"]
    bits = arguments["d_vae_codebook_dim"] * (4 if arguments["apply_spatial_patchify"] else 1)
    hidden = round(c * 4 / 256) * 256
    self_attention = 3 * c * c + 2 * c + arguments["num_heads"] + c * c + c
    cross_attention = 2 * c + (c * c + c) + (2 * c * c + c) + (c * c + c)
    block = 6 * c + self_attention + cross_attention + 2 * c * hidden + hidden + c
    text = channels + arguments["text_maxlen"] * channels
    pooled = c + 2 * c * channels + c + c * c + c
    context = channels * c + c + c * c + c
    conditions = (6 * c * c + 6 * c) + (2 * c * c + 2 * c)
    input_and_output = (bits * c + c) + c + 15 * c + (2 * bits * c + 2 * bits)
    return depth * block + text + pooled + context + conditions + input_and_output


@pytest.mark.parametrize("name", infinity.VARIANTS)
def test_a_published_size_has_the_count_of_its_shapes_beside_its_tokenizer(name):
    variant = infinity.VARIANTS[name]
    model = made(variant.arguments)
    tokenizer = sum(weight.numel() for weight in model.picture.tokenizer.parameters())
    vae = "d56-f8-d14" if name.startswith("8B") else "d32reg"
    assert tokenizer == infinity_vae.PAGE.variants[vae].parameters
    assert variant.files[-1] == infinity_vae.PAGE.variants[vae].files[0]
    count = sum(weight.numel() for weight in model.parameters()) - tokenizer
    assert count == variant.parameters == by_hand(variant.arguments)
    for size in infinity.card(name).sizes:
        assert len(model.picture.tokenizer.layout(*size).sizes) == (10 if name == "8B-512" else 13)


def test_the_counts_are_those_of_the_names():
    rounded = {name: round(variant.parameters / 1e9, 2) for name, variant in infinity.VARIANTS.items()}
    assert (rounded["125M"], rounded["1B"], rounded["2B"], rounded["8B"]) == (0.13, 0.94, 2.2, 8.38)
    assert "20B" not in rounded  # never released


@recordings
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", infinity.VARIANTS)
def test_a_published_size_has_the_keys_of_its_recorded_topology(folder, name):
    arguments = infinity.VARIANTS[name].arguments
    with safe_open(folder / "weights.safetensors", "pt") as file:
        keys = {key for key in file.keys() if not key.endswith("zero_k_bias")}  # noqa: SIM118
    block = {key.split(".", 4)[4] for key in keys if key.startswith("block_chunks.")}
    chunk = {"125M": 3, "1B": 6, "2B": 4, "8B": 5, "8B-512": 5}.get(name)
    wanted = {key for key in keys if not key.startswith("block_chunks.")}
    keys = {key for key in needed(arguments) if not key.startswith(("encoder.", "decoder."))}
    assert wanted == {key for key in keys if not key.startswith("block_chunks.")}
    assert {key.split(".", 4)[4] for key in keys if key.startswith("block_chunks.")} == block
    if chunk:
        chunks = [(n // chunk, n % chunk) for n in range(arguments["depth"])]
        wanted = {f"block_chunks.{i}.module.{j}.{key}" for i, j in chunks for key in block}
        assert wanted == {key for key in keys if key.startswith("block_chunks.")}


def source_weights(model: ImageModel, config: parts.ImageModelConfig, chunk: int) -> dict[str, torch.Tensor]:
    """Weights under the authors' names, in their arrangement, blocks in chunks of so many (0: in none)."""
    order = [infinity.HALVES.index(number) for number in range(6)]
    heads, back = config.transformer.attention.heads, {}
    for name, value in model.state_dict().items():
        (source,) = infinity.source_name(name, config).names
        if source.endswith("ada_gss"):
            value = value[order][None, None]
        elif "ada_lin" in source:
            value = infinity.reordered(value, (1, 0) if source.startswith("head_nm") else tuple(order))
        elif source.endswith(("mat_qkv.weight", "sa.q_bias")):
            rotated = 2 if source.endswith("weight") else 1
            width = value.shape[0] // (3 if rotated == 2 else 1)
            mixed = value[: rotated * width].unflatten(0, (rotated * heads, 2, -1)).transpose(1, 2).flatten(0, 2)
            value = torch.cat([mixed, value[rotated * width :]])
        if name.startswith("transformer.blocks."):
            number, rest = int(name.split(".")[2]), source.split(".", 4)[4]
            prefix = f"block_chunks.{number // chunk}.module.{number % chunk}" if chunk else f"blocks.{number}"
            source = f"{prefix}.{rest}"
        back[source] = value
    return back


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("changes,chunk", [({}, 2), ({}, 0), ({"apply_spatial_patchify": 1}, 3), ({"depth": 12}, 4)])
def test_two_files_as_they_were_published_make_a_whole_model(changes, chunk, nested, tmp_path):
    arguments = {**SMALL, **NETWORKS, **changes}
    config, model = infinity.parts(arguments), random(arguments)
    back = source_weights(model, config, chunk)
    vae = {name: value for name, value in back.items() if name.startswith(("encoder.", "decoder."))}
    rest = {name: value for name, value in back.items() if name not in vae}
    rest |= {"lvl_1L": torch.zeros(1, 9).long(), "text_proj_for_sos.ca.zero_k_bias": torch.zeros(48)}
    long = {**rest, "cfg_uncond": torch.cat([rest["cfg_uncond"], torch.ones(3, 256)])}  # learned for a longer context
    torch.save({"trainer": {"gpt_fsdp": long}, "epoch": 3} if nested else long, tmp_path / "model.pth")
    torch.save({"vae": {**vae, "quantizer.lfq.mask": torch.arange(5)}}, tmp_path / "vae.pth")
    variant = infinity.VARIANTS["125M" if nested else "2B"]
    found = read_variant([tmp_path / "model.pth", tmp_path / "vae.pth"], variant)
    copy = parts.build(config).eval()
    fill(infinity.PAGE, config, copy, found)
    for name, value in model.state_dict().items():
        assert torch.equal(copy.state_dict()[name], value), name
    gone = next(name for name in found if name.endswith(".0.sa.q_bias"))
    del found[gone]
    with pytest.raises(ValueError, match=r"1 missing \(block_chunks.0.module.0.sa.q_bias\)"):
        fill(infinity.PAGE, config, copy, found)


def test_a_shorter_context_is_filled_up_with_zeros():
    assert infinity.lengthened(torch.ones(2, 3), 4).sum(1).tolist() == [3, 3, 0, 0]


@recordings
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@torch.no_grad()
def test_the_slow_way_draws_what_was_recorded_too(folder):
    record = recorded(folder)
    tensors, scene = record.tensors, Scene(record)
    layout, texts, guidances = scene.layout("gen_scale_schedule"), scene.texts(), scene.settings["cfg_list"]
    documents, model = to_draw(texts, layout), record.system
    condition, null = (model.opening(documents, null) for null in (False, True))
    negative = model.opening(to_draw(scene.texts("neg_"), layout))
    likeliest = Sampling(temperature=0)
    for name, view, guidance, how in (
        ("gen_cfg", null, guidances, {}),
        ("gen_cfg_layer", null, [2.5] * len(guidances), {"after_block": -1}),
        ("gen_neg", negative, [3.0] * len(guidances), {}),
    ):
        weights = torch.tensor([[g, 1 - g] for g in guidance])[..., None].expand(-1, -1, len(texts))
        request = Drawing(layout, [condition, view], weights, likeliest, **how)
        slow = list(record.system.draw(request, Seeded([0] * len(texts))))[-1].tokens
        assert torch.equal(slow, tensors[f"{name}_bits"].long()), name


@recordings
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@torch.no_grad()
def test_cached_and_teacher_forced_agree(folder):
    record = recorded(folder)
    scene, model = Scene(record), record.system
    layout, bits = scene.layout("scale_schedule"), scene.encoded().target
    opening = model.opening(to_draw(scene.texts(), layout))
    given = torch.ones(bits.shape[:2], dtype=torch.bool)
    drawing = Drawing(layout, [opening], torch.ones(1, len(bits)), tokens=bits, given=given)
    _, answers = recorded_calls(model.picture.head.output, lambda: list(draw(model, drawing, Seeded(range(len(bits))))))
    assert compare("infinity", "logits", torch.cat(answers, 2)[0], scene.logits()).passed


def test_flips_are_those_of_the_masks_and_targets_stay_clean():
    arguments = {**SMALL, "text_maxlen": 4}
    tokenizer = random(arguments).picture.tokenizer
    latents = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    layout = Layout(((1, 1), (2, 2), (4, 4)))
    masks = {0: torch.ones(2, 1, 1, 1, 5), 1: torch.zeros(2, 1, 2, 2, 5)}
    clean, found = tokenizer.encode(latents, layout), tokenizer.encode(latents, layout, Flips(masks))
    assert torch.equal(found.target[:, :1], clean.target[:, :1])
    assert torch.equal(found.shown[:, :1], 1 - found.target[:, :1])
    assert torch.equal(found.shown[:, 1:], found.target[:, 1:])
    assert not torch.equal(found.target[:, 1:], clean.target[:, 1:])  # they make up for what was flipped


@torch.no_grad()
def test_pictures_of_all_shapes_share_the_places_of_the_largest_grid():
    tokenizer = random({**SMALL, "apply_spatial_patchify": 1}).picture.tokenizer
    for grids in infinity_vae.schedules():
        for count in (7, 10, 13):
            rows, columns = grids[count - 1]
            layout = tokenizer.layout(2 * rows, 2 * columns)
            assert layout == Layout(grids[:count], grids[-1])


def test_arguments_that_no_published_model_has_are_refused():
    with pytest.raises(ValueError, match="Infinity's swiglu is False in all its models, here it is True"):
        infinity.parts({**SMALL, "swiglu": True})


def test_weights_that_are_not_out_are_not_looked_for(tmp_path):
    with pytest.raises(ValueError, match=r"infinity_1b.pth has not been published: give one of your own with --from"):
        fetch(infinity.VARIANTS["1B"].files[0], tmp_path)


@torch.no_grad()
def test_a_page_with_networks_draws_texts_in_several_shapes_and_offers_the_nearest():
    model = random({**SMALL, **NETWORKS})
    model.prompt.encoder = Letters()
    sizes = infinity.sizes_of("0.06M", 4)
    painter = Painter(model, replace(infinity.card("2B"), sizes=sizes))
    wide = next(size for size in sizes if size[0] < size[1])
    first, second = painter.generate("a cat", n=2, seed=4, size=wide)
    assert first.size == wide[::-1] and first.tobytes() != second.tobytes()
    plain = painter.generate("a cat", seed=4, size=wide, guidance=1.0)[0]
    negative = painter.generate("a cat", seed=4, size=wide, negative="a dog")[0]
    assert len({first.tobytes(), plain.tobytes(), negative.tobytes()}) == 3
    with pytest.raises(ValueError, match=r"cannot draw 100x60 pixels; it draws 64x64, .*; the nearest is 84x48$"):
        painter.generate("a cat", size=(60, 100))
    with pytest.raises(ValueError, match="has 8 positions or more, the context holds 7: say it in fewer words"):
        painter.generate("a" * 9)


class Letters:
    """A text encoder that gives a vector of features for each letter."""

    def read(self, texts: list[str], device: torch.device) -> list[torch.Tensor]:
        return [torch.stack([torch.linspace(-1, ord(c) / 128, 256) for c in text[:8]]) for text in texts]
