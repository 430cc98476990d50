"""UniTok's page at any size: the authors' names and shapes, written down here once more, are those that it asks for."""

import math

import pytest
import torch

from kiloword import parts, published
from kiloword.published.convert import read_file
from kiloword.published.page import fill, names_of

PAGE = published.page("unitok")
SMALL = {
    "model": "invented", "num_query": 0, "img_size": 32, "quant_proj": "attn", "vocab_size": 30, "vocab_width": 12,
    "num_codebooks": 3, "stem_width": 5, "stage_dims": [7, 9, 24], "conv_depths": [1, 3], "decoder_up_depths": [2, 1],
    "depth": 3, "num_heads": 2, "mlp_ratio": 1.5, "text_width": 6, "text_heads": 3, "text_layers": 1,
    "text_vocab_size": 11, "text_context_length": 5, "embed_dim": 10,
}  # fmt: skip
ALIKE = {**SMALL, "stem_width": 6, "stage_dims": [6, 6, 12], "num_codebooks": 1, "depth": 1, "mlp_ratio": 3.0}
UNUSED = ("encoder.pos_embed", "zero_k_bias", "vocab_usage")


def linear(name: str, outside: int, inside: int) -> dict:
    return {f"{name}.weight": (outside, inside), f"{name}.bias": (outside,)}


def conv(name: str, outside: int, inside: int, kernel: int) -> dict:
    return {f"{name}.weight": (outside, inside, kernel, kernel), f"{name}.bias": (outside,)}


def norm(name: str, width: int) -> dict:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def geglu(name: str, width: int, hidden: int) -> dict:
    gates = linear(f"{name}.w0", hidden, width) | linear(f"{name}.w1", hidden, width)
    return norm(f"{name}.norm", width) | gates | linear(f"{name}.w2", width, hidden)


def mbconv(name: str, inside: int, outside: int, up: bool = False) -> dict:
    wide = math.ceil(outside / 2) * 8
    found = norm(f"{name}.pre_norm", inside) | conv(f"{name}.conv1_1x1", wide, inside, 1)
    found |= conv(f"{name}.conv2_kxk", wide, 1, 3) | conv(f"{name}.conv3_1x1", outside, wide, 1)
    if up:
        return found | conv(f"{name}.up.conv", wide, wide, 3) | conv(f"{name}.shortcut.conv", outside, inside, 3)
    return found | (conv(f"{name}.shortcut.expand", outside, inside, 1) if inside != outside else {})


def transformer(name: str, a: dict) -> dict:
    width, found = a["stage_dims"][-1], {}
    for i in range(a["depth"]):
        block = f"{name}.blocks.{i}"
        found |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        found |= linear(f"{block}.attn.qkv", 3 * width, width) | linear(f"{block}.attn.proj", width, width)
        found |= geglu(f"{block}.mlp", width, int(width * a["mlp_ratio"]))
    return found | norm(f"{name}.norm", width)


def projection(name: str, inside: int, outside: int) -> dict:
    wide = max(inside, outside)
    found = norm(f"{name}.norm1", inside) | norm(f"{name}.norm2", outside) | norm(f"{name}.norm3", inside)
    found |= {f"{name}.attn.{part}_bias": (wide,) for part in ("q", "v", "zero_k")}
    found |= {f"{name}.attn.qkv.weight": (3 * wide, inside)} | linear(f"{name}.attn.proj", outside, outside)
    return found | linear(f"{name}.proj", outside, inside) | geglu(f"{name}.mlp", outside, 2 * outside)


def encoder(a: dict) -> dict:
    stem, (first, second, width), prefix = a["stem_width"], a["stage_dims"], "encoder.patch_embed.backbone"
    found = {"encoder.pos_embed": (1, 1, width)} | transformer("encoder", a)
    found |= conv(f"{prefix}.stem.conv1", stem, 3, 3) | norm(f"{prefix}.stem.norm1", stem)
    found |= conv(f"{prefix}.stem.conv2", stem, stem, 3)
    for stage, (inside, outside) in enumerate(((stem, first), (first, second))):
        for i in range(a["conv_depths"][stage]):
            found |= mbconv(f"{prefix}.stages.{stage}.{i}", outside if i else inside, outside)
    return found | norm(f"{prefix}.pool.norm", second) | conv(f"{prefix}.pool.proj", width, second, 3)


def decoder(a: dict) -> dict:
    first, second, width = a["stage_dims"]
    found = transformer("decoder", a) | conv("decoder.up_conv1.conv", second, width, 3)
    for stage, (inside, outside) in enumerate(((second, second), (second, first))):
        for i in range(a["decoder_up_depths"][stage]):
            found |= mbconv(f"decoder.up_conv{stage + 2}.{i}", outside if i else inside, outside, up=not i)
    found |= conv("decoder.up_conv4.conv1.conv", first, first, 3) | norm("decoder.up_conv4.norm1", first)
    return found | conv("decoder.up_conv4.conv2", 3, first, 3)


def text(a: dict) -> dict:
    width = a["text_width"]
    found = {
        "text_encoder.token_embedding.weight": (a["text_vocab_size"], width),
        "text_encoder.positional_embedding": (a["text_context_length"], width),
        "text_encoder.text_projection": (width, a["embed_dim"]),
    }
    for i in range(a["text_layers"]):
        block = f"text_encoder.transformer.resblocks.{i}"
        found |= norm(f"{block}.ln_1", width) | norm(f"{block}.ln_2", width)
        found |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
        found |= linear(f"{block}.attn.out_proj", width, width)
        found |= linear(f"{block}.mlp.c_fc", 4 * width, width) | linear(f"{block}.mlp.c_proj", width, 4 * width)
    return found | norm("text_encoder.ln_final", width)


def published_file(a: dict) -> dict:
    """Names and shapes of all tensors of the authors' file."""
    width, narrow, books = a["stage_dims"][-1], a["vocab_width"], a["num_codebooks"]
    found = encoder(a) | projection("quant_proj", width, narrow) | projection("post_quant_proj", narrow, width)
    found |= decoder(a) | text(a) | norm("fc_norm", width) | linear("projection", a["embed_dim"], width)
    for i in range(books):
        found[f"quantizer.codebooks.{i}.codebook.weight"] = (a["vocab_size"] // books, narrow // books)
        found[f"quantizer.codebooks.{i}.vocab_usage"] = (a["vocab_size"] // books,)
    return found | {"logit_scale": ()}


@pytest.mark.parametrize("arguments", [SMALL, ALIKE], ids=["all sizes differ", "some sizes are alike"])
@torch.no_grad()
def test_files_of_other_sizes_load_and_run(arguments):
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in published_file(arguments).items()}
    config = PAGE.parts(arguments)
    system = parts.build(config)
    fill(PAGE, config, system, tensors)
    used = sum(value.numel() for name, value in tensors.items() if not name.endswith(UNUSED))
    assert sum(parameter.numel() for parameter in system.parameters()) == used
    layout = system.layout(48, 32)
    tokens = system.encode(torch.rand(2, 3, 48, 32, generator=generator) * 2 - 1, layout).target
    system.space.check(tokens)
    assert tokens.shape == (2, 6, arguments["num_codebooks"])
    assert system.decode(tokens, layout, torch.ones(2, 6, dtype=torch.bool)).shape == (2, 3, 48, 32)
    assert system.text_vectors(torch.tensor([[1, 9, 0]])).shape == (1, arguments["embed_dim"])


def test_the_weights_lie_where_the_page_says(tmp_path):
    tensors = {name: torch.zeros(shape) for name, shape in published_file(SMALL).items()}
    path = tmp_path / "unitok_tokenizer.pth"
    torch.save({"args": SMALL, "trainer": {"unitok": tensors, "disc": {"weight": torch.zeros(2)}}}, path)
    assert read_file(path, PAGE.variants["vitamin_large"].files[0]).keys() == tensors.keys()


def test_every_tensor_of_theirs_is_used_once():
    config = PAGE.parts(SMALL)
    names = [name for source in names_of(PAGE, config, parts.build(config)).values() for name in source.names]
    wanted = {name for name in published_file(SMALL) if not name.endswith(UNUSED)}
    assert len(names) == len(set(names)) and set(names) == wanted


def test_the_published_size():
    variant = PAGE.variants["vitamin_large"]
    sizes = {
        "stem_width": 160, "stage_dims": [160, 320, 1024], "conv_depths": [2, 4], "decoder_up_depths": [4, 2],
        "depth": 31, "mlp_ratio": 2.0,
    }  # fmt: skip
    sources = published_file({**variant.arguments, **sizes})
    used = sum(math.prod(shape) for name, shape in sources.items() if not name.endswith(UNUSED))
    with torch.device("meta"):
        system = parts.build(PAGE.parts(variant.arguments))
    assert sum(parameter.numel() for parameter in system.parameters()) == used == variant.parameters
    assert system.layout(256, 256).sizes == ((16, 16),)
    assert system.space.sizes == (4096,) * 8


def test_other_kinds_of_unitok_are_refused():
    for change in ({"quant_proj": "linear"}, {"num_query": 4}):
        with pytest.raises(ValueError, match="attention around its quantizer and without queries"):
            PAGE.parts({**SMALL, **change})
