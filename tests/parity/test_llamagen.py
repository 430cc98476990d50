"""LlamaGen's page: published sizes are exact, files load however they are wrapped, and its traps are traps."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import scaled_dot_product_attention

from kiloword import parts, published
from kiloword.engine.cpu.fused_stack import FusedStack, fused
from kiloword.engine.drive import draw
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.published import llamagen, llamagen_vq
from kiloword.published.convert import convert
from kiloword.published.llamagen import PAGE
from kiloword.published.page import Source, names_of
from kiloword.tokens import Layout
from kiloword.transformer import AttentionConfig
from kiloword.verification import llamagen_stages
from kiloword.verification.comparison import rebuild, verify
from kiloword.verification.recordings import read_settings

HERE = Path(__file__).parent / "recordings"
ALL = Path(__file__).parents[3] / "shared" / "fixtures"
VQ = {
    "ch": 8, "ch_mult": [1, 2], "num_res_blocks": 1, "norm_groups": 4, "z_channels": 8, "codebook_size": 16,
    "codebook_embed_dim": 4, "l2_norm": True,
}  # fmt: skip
C2I = {
    "model_type": "c2i", "dim": 24, "n_layer": 2, "n_head": 3, "multiple_of": 8, "vocab_size": 16, "block_size": 9,
    "num_classes": 5, "cls_token_num": 1, "tokenizer": VQ,
}  # fmt: skip
T2I = {**C2I, "model_type": "t2i", "caption_dim": 10, "cls_token_num": 7}


def made(arguments: dict, device: str = "meta"):
    with torch.device(device):
        return parts.build(PAGE.parts(arguments))


def needed(arguments: dict) -> dict[str, Source]:
    return names_of(PAGE, PAGE.parts(arguments), made(arguments))


@pytest.mark.parametrize("name", PAGE.variants)
def test_a_published_size_has_its_parameters_and_its_authors_names(name):
    variant = PAGE.variants[name]
    model = made(variant.arguments)
    counts = {kind: 0 for kind in (True, False)}
    for key, weight in model.named_parameters():
        counts[key.startswith("picture.tokenizer.")] += weight.numel()
    assert counts == {False: variant.parameters, True: 71_883_403}
    prompt = ["embedding_table.weight"]
    if name.startswith("t2i"):
        prompt = ["cap_proj.fc1.weight", "cap_proj.fc2.weight", "uncond_embedding"]
    layer = ("attention.wqkv", "attention.wo", "attention_norm", "ffn_norm", *(f"feed_forward.w{i}" for i in (1, 2, 3)))
    wanted = {"tok_embeddings.weight", "output.weight", "norm.weight"} | {f"cls_embedding.{key}" for key in prompt}
    wanted |= {f"layers.{i}.{key}.weight" for i in range(variant.arguments["n_layer"]) for key in layer}
    found = {key for source in needed(variant.arguments).values() for key in source.names}
    assert {key for key in found if not key.startswith("vq.")} == wanted
    vq = published.page("llamagen-vq")
    config = vq.parts(llamagen_vq.VQ16)
    with torch.device("meta"):
        keys = parts.build(config).state_dict()
    assert {key for key in found if key.startswith("vq.")} == {
        f"vq.{name}" for key in keys for name in vq.source_name(key, config).names
    }


def test_the_counts_are_those_of_the_facts():
    rounded = {name: round(variant.parameters / 1e6, 1) for name, variant in PAGE.variants.items()}
    assert rounded == {
        "B-256": 110.9, "L-256": 342.9, "B-384": 110.9, "L-384": 342.9, "XL-384": 774.7, "XXL-384": 1411.0,
        "3B-384": 3096.7, "t2i-XL-256": 777.9, "t2i-XL-512": 777.9,
    }  # fmt: skip


@pytest.mark.parametrize("name", PAGE.variants)
def test_a_card_says_how_the_authors_draw(name):
    card = PAGE.card(name)
    pixels = int(name[-3:])
    expected = ("text", "", 7.5, 1000) if name.startswith("t2i") else ("class", "imagenet", 4.0, 2000)
    assert (card.prompts, card.classes, card.guidance, card.top_k) == expected
    assert card.sizes == ((pixels, pixels),) and card.temperature == card.top_p == 1
    assert PAGE.variants[name].arguments["block_size"] == (pixels // 16) ** 2


def written(folder: Path, arguments: dict, wrap: str) -> tuple[list[Path], dict[str, torch.Tensor]]:
    """Files as the authors have them, of random weights: the generator wrapped or flat, and its VQ."""
    torch.manual_seed(0)
    tensors = {}
    own = made(arguments).state_dict()
    for name, source in needed(arguments).items():
        shape = own[name].shape
        for key in source.names:
            tensors[key] = torch.randn(shape[0] // len(source.names), *shape[1:])
    files = {"gpt": {"freqs_cis": torch.zeros(3)}, "vq": {"quantize.codebook_used": torch.zeros(3)}}
    for key, value in tensors.items():
        part, name = ("vq", key[3:]) if key.startswith("vq.") else ("gpt", key)
        files[part][name] = value
    paths = [folder / f"{part}.pt" for part in files]
    torch.save({wrap: files["gpt"], "steps": 3} if wrap else files["gpt"], paths[0])
    torch.save({"model": files["vq"]}, paths[1])
    return paths, tensors


@pytest.mark.parametrize("wrap", ["model", "module", "state_dict", ""])
@pytest.mark.parametrize("arguments", [C2I, T2I], ids=["c2i", "t2i"])
@torch.no_grad()
def test_files_become_a_whole_model_that_draws(tmp_path, arguments, wrap):
    paths, tensors = written(tmp_path, arguments, wrap)
    files = PAGE.variants["B-384"].files
    page = replace(PAGE, variants={"tiny": replace(PAGE.variants["B-384"], arguments=arguments, files=files)})
    config, model = convert(page, "tiny", paths)
    assert parts.from_json(parts.to_json(config)) == config
    assert torch.equal(model.picture.head.embedding.weight, tensors["tok_embeddings.weight"])
    assert torch.equal(model.picture.tokenizer.quantizer.codebook, tensors["vq.quantize.embedding.weight"])
    layout = model.picture.tokenizer.layout(6, 6)
    prompts = [3, None] if arguments is C2I else [torch.randn(4, 10), None]
    request = llamagen_stages.drawing(model, layout, prompts, 2.0, Sampling(top_k=5))
    *_, last = draw(model, request, Seeded([1, 2]))
    assert model.picture.tokenizer.decode(last.tokens, layout, last.known).shape == (2, 3, 6, 6)


@pytest.mark.parametrize("key_heads", [None, 1])
@pytest.mark.parametrize("arguments", [C2I, T2I], ids=["c2i", "t2i"])
@torch.no_grad()
def test_cached_is_uncached_and_runs_lean(arguments, key_heads):
    arguments = {key: value for key, value in arguments.items() if key != "tokenizer"} | {"n_kv_head": key_heads}
    torch.manual_seed(0)
    model = made(arguments, "cpu").eval()
    assert isinstance(fused(model.transformer), FusedStack)
    prompts = [4, 1] if arguments["model_type"] == "c2i" else [torch.randn(3, 10), torch.randn(6, 10)]
    limits = llamagen_stages.limited(4)
    request = llamagen_stages.drawing(model, Layout(((3, 3),)), prompts, 2.5, Sampling(0.9, 9, 0.95), limits)
    slow, fast = (llamagen_stages.drawn(model, request, Seeded([3, 4]), way) for way in (ImageModel.draw, draw))
    assert torch.equal(slow[0], fast[0]) and torch.allclose(slow[1], fast[1], atol=1e-4)


def test_guidance_ends_where_the_authors_end_it():
    """Their step 0 is the second token's; a limit of 2 guides the first four tokens."""
    model = made({**C2I, "block_size": 9}, "cpu")
    request = llamagen_stages.drawing(model, Layout(((3, 3),)), [1], 3.0, Sampling(), llamagen_stages.limited(2))
    assert request.weights[:, 0, 0].tolist() == [3.0] * 4 + [1.0] * 5
    assert llamagen_stages.drawing(model, Layout(((3, 3),)), [1], 1.0, Sampling()).weights.shape == (1, 1)
    assert llamagen_stages.limited(-1).last is None


@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_channels_are_rearranged_so_that_neighbours_rotate_together(key_heads):
    """Scores of queries and keys rotated in pairs of neighbours, and of pairs half a head apart, are the same."""
    torch.manual_seed(0)
    heads, d, width, t = 4, 12, 10, 5
    weight = torch.randn((heads + 2 * key_heads) * d, width)
    x, angle = torch.randn(t, width), torch.rand(t, 1, d // 2)
    sizes = [heads * d, key_heads * d, key_heads * d]

    def mixed(q, k, v):
        rows = [part.transpose(0, 1)[None] for part in (q, k, v)]
        return scaled_dot_product_attention(*rows, enable_gqa=True)

    def split(matrix):
        return [part.unflatten(1, (-1, d)) for part in (x @ matrix.T).split(sizes, 1)]

    def neighbours(part):
        a, b = part[..., ::2], part[..., 1::2]
        return torch.stack([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1).flatten(-2)

    def halves(part):
        a, b = part.chunk(2, -1)
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    q, k, v = split(weight)
    wanted = mixed(neighbours(q), neighbours(k), v)
    q, k, v = split(llamagen.pairs_apart(AttentionConfig(heads, key_heads, d), weight))
    assert torch.allclose(mixed(halves(q), halves(k), v), wanted, atol=1e-5)


class Rotated:
    """Positions of which those that are nowhere stand for the first token's."""

    def __init__(self, rotary):
        self.rotary = rotary

    def angles(self, positions):
        return self.rotary.angles(positions.nan_to_num(0.0))


def test_a_prompt_that_is_rotated_instead_of_zeroed_is_noticed():
    folder = HERE / "llamagen_c2i"
    tensors = load_file(folder / "io.safetensors")
    model = rebuild(PAGE, folder, read_settings(folder), tensors).system
    model.transformer.rotary = Rotated(model.transformer.rotary.rotary)
    logits = llamagen_stages.teacher_forced_logits(
        model, Layout(((4, 4),)), tensors["in.labels"].tolist(), tensors["in.ids"]
    )
    reference = tensors["out.tf_logits"]
    assert torch.allclose(logits[:, 0], reference[:, 0], atol=1e-4)  # the first position attends to itself alone
    assert (logits - reference)[:, 1:].norm() / reference.norm() > 1e-3


@pytest.mark.skipif(not ALL.exists(), reason="the folder of recordings is not here")
@pytest.mark.parametrize("name", ["llamagen_c2i", "llamagen_t2i"])
def test_all_that_was_recorded_passes(name):
    rows = list(verify(ALL / name))
    assert all(row.passed for row in rows) and len(rows) == 12
    assert all(re.match(r"out\.", row.tensor) for row in rows)
