"""Infinity: texts to pictures of any common shape, bit by bit on up to 13 grids, coarse to fine.

Han et al. 2024 (Infinity: Scaling Bitwise AutoRegressive Modeling); github.com/FoundationVision/Infinity.
"""

import re
from dataclasses import replace
from functools import partial
from typing import Any

from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from kiloword.engine.card import Card
from kiloword.heads.bitwise import BitwiseConfig
from kiloword.heads.entrance import ScaleEntranceConfig
from kiloword.orders.next_scale import NextScaleConfig
from kiloword.parts import ImageModelConfig, ModalityConfig
from kiloword.prompts.text_context import TextContextConfig
from kiloword.published import infinity_vae
from kiloword.published.llamagen import pairs_apart
from kiloword.published.page import Figure, File, Page, Source, Variant
from kiloword.published.var import HALVES, reordered
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bsq_scales import BSQScalesConfig
from kiloword.tokenizers.patched import PatchedConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.tokens import Bits
from kiloword.transformer import (
    AdaLNOutputConfig,
    AttentionConfig,
    CrossAttentionConfig,
    GELUConfig,
    LayerNormConfig,
    RotaryConfig,
    RoundedConfig,
    SharedAdaLNConfig,
    StackConfig,
    UnitConfig,
)

ENCODER = "google/flan-t5-xl"
GRIDS = 15  # learned grids, of which the tables have 13
FLIP = 0.3  # how often bits flip at most in training, on all grids of the tables
PATCH = 2  # of the models that take 2x2 tokens at once
USUAL = {  # arguments of the authors that all their models share, and what no part here is made for
    "shared_aln": True, "head_aln": True, "rms_norm": False, "cos_attn": True, "swiglu": False, "head_depth": 1,
    "nm0": False, "use_bit_label": 1, "rope2d_each_sa_layer": 1, "rope2d_normalized_by_hw": 2,
    "add_lvl_embeding_only_first_block": 1,
}  # fmt: skip


def parts(arguments: dict[str, Any]) -> ImageModelConfig:
    """Of the authors' arguments; without those of the tokenizer's networks, pictures are its latents."""
    for name, usual in USUAL.items():
        if arguments.get(name, usual) != usual:
            raise ValueError(f"Infinity's {name} is {usual} in all its models, here it is {arguments[name]}")
    width, heads, bits = arguments["embed_dim"], arguments["num_heads"], arguments["d_vae_codebook_dim"]
    channels, norm = arguments["text_channels"], LayerNormConfig(arguments.get("norm_eps", 1e-6), affine=False)
    half = width // heads // 2
    stack = StackConfig(
        width,
        arguments["depth"],
        AttentionConfig(heads, bias=True, key_bias=False, query_norm=UnitConfig()),
        GELUConfig(round(width * arguments.get("mlp_ratio", 4) / 256) * 256),
        norm=norm,
        position=RoundedConfig(RotaryConfig((0, 0, half, half), (1e4, 1e4, 1e4, 1e4))),
        modulation=SharedAdaLNConfig(),
        output_modulation=AdaLNOutputConfig(),
        cross_attention=CrossAttentionConfig(heads, LayerNormConfig(norm.eps)),
    )
    tokenizer, space = _tokenizer(arguments), Bits(bits)
    if arguments.get("apply_spatial_patchify"):
        tokenizer, space = PatchedConfig(tokenizer, PATCH), Bits(bits * PATCH**2)
    head = BitwiseConfig(space, width, entrance=ScaleEntranceConfig(GRIDS), canvas=space.dim)
    prompt = TextContextConfig(
        channels, width, 64 if width > 4096 else channels // 128, arguments.get("text_maxlen", 512),
        arguments.get("text_encoder", ""),
    )  # fmt: skip
    return ImageModelConfig(ModalityConfig(tokenizer, NextScaleConfig(), head), prompt, stack)


def _tokenizer(arguments: dict[str, Any]) -> AutoencoderConfig:
    """With bits that flip in training; of its quantizer alone, one whose pictures are the latents themselves."""
    bits, times = arguments["d_vae_codebook_dim"], PATCH if arguments.get("apply_spatial_patchify") else 1
    if "base_ch" in arguments:
        whole = infinity_vae.parts({**arguments, "codebook_dim": bits})
    else:
        latents = PixelwiseConfig(channels=bits)
        whole = AutoencoderConfig(latents, latents, BSQScalesConfig(bits, infinity_vae.schedules(times)))
    assert isinstance(whole.quantizer, BSQScalesConfig)
    return replace(whole, quantizer=replace(whole.quantizer, flip=FLIP))


# Names

WEIGHTS = {
    "picture.head.embedding.weight": "word_embed.weight", "picture.head.embedding.bias": "word_embed.bias",
    "picture.head.entrance.start": "pos_start", "picture.head.entrance.scale.weight": "lvl_embed.weight",
    "picture.head.output.weight": "head.weight", "picture.head.output.bias": "head.bias",
    "prompt.norm.weight": "text_norm.weight",
    "prompt.pool.key_values.weight": "text_proj_for_sos.ca.mat_kv.weight",
    "prompt.pool.key_values.value_bias": "text_proj_for_sos.ca.v_bias",
    "prompt.pool.out.weight": "text_proj_for_sos.ca.proj.weight",
    "prompt.pool.out.bias": "text_proj_for_sos.ca.proj.bias",
    "prompt.enter.weight": "text_proj_for_ca.0.weight", "prompt.enter.bias": "text_proj_for_ca.0.bias",
    "prompt.out.weight": "text_proj_for_ca.2.weight", "prompt.out.bias": "text_proj_for_ca.2.bias",
}  # fmt: skip
BLOCK = {
    "attention.query_norm.scale": "sa.scale_mul_1H11", "attention.value_bias": "sa.v_bias",
    "attention.out.weight": "sa.proj.weight", "attention.out.bias": "sa.proj.bias",
    "cross_attention.norm.weight": "ca_norm.weight", "cross_attention.norm.bias": "ca_norm.bias",
    "cross_attention.attention.query.weight": "ca.mat_q.weight",
    "cross_attention.attention.query.bias": "ca.mat_q.bias",
    "cross_attention.attention.key_values.weight": "ca.mat_kv.weight",
    "cross_attention.attention.key_values.value_bias": "ca.v_bias",
    "cross_attention.attention.out.weight": "ca.proj.weight", "cross_attention.attention.out.bias": "ca.proj.bias",
    "feed_forward.up.weight": "ffn.fc1.weight", "feed_forward.up.bias": "ffn.fc1.bias",
    "feed_forward.out.weight": "ffn.fc2.weight", "feed_forward.out.bias": "ffn.fc2.bias",
}  # fmt: skip


def source_name(name: str, config: ImageModelConfig) -> Source:
    """The authors' rotary pairs are neighbours, here half a head apart; their gates come first, here last."""
    if name.startswith("picture.tokenizer."):
        tokenizer, rest = config.picture.tokenizer, name.removeprefix("picture.tokenizer.")
        if isinstance(tokenizer, PatchedConfig):
            tokenizer, rest = tokenizer.tokenizer, rest.removeprefix("tokenizer.")
        assert isinstance(tokenizer, AutoencoderConfig)
        return infinity_vae.source_name(rest, tokenizer)
    if name in WEIGHTS:
        return Source((WEIGHTS[name],))
    assert isinstance(config.transformer, StackConfig) and isinstance(config.prompt, TextContextConfig)
    match name.split("."):
        case ["prompt", "pool", "query"]:
            return Source(("text_proj_for_sos.ca.mat_q",), changed=Tensor.flatten)
        case ["prompt", "nothing"]:
            return Source(("cfg_uncond",), changed=partial(lengthened, length=config.prompt.positions))
        case ["transformer", "shared_modulation", "linear", kind]:
            return Source((f"shared_ada_lin.1.{kind}",), changed=partial(reordered, order=HALVES))
        case ["transformer", "output_modulation", "linear", kind]:
            return Source((f"head_nm.ada_lin.1.{kind}",), changed=partial(reordered, order=(1, 0)))
        case ["transformer", "blocks", number, *rest]:
            return _of_block(block_name(int(number), config.transformer.depth), ".".join(rest), config.transformer)
    raise KeyError(name)


def _of_block(block: str, kind: str, stack: StackConfig) -> Source:
    match kind:
        case "attention.qkv.weight":
            return Source((f"{block}.sa.mat_qkv.weight",), changed=partial(pairs_apart, stack.attention))
        case "attention.query_bias":
            return Source((f"{block}.sa.q_bias",), changed=partial(half_split, heads=stack.attention.heads))
        case "modulation.offset":
            return Source((f"{block}.ada_gss",), changed=lambda offset: offset.flatten(0, 2)[list(HALVES)])
    return Source((f"{block}.{BLOCK[kind]}",))


def half_split(bias: Tensor, heads: int) -> Tensor:
    """The queries' bias, from rotary pairs of neighbours to pairs half a head apart."""
    return rearrange(bias, "(h i pair) -> (h pair i)", h=heads, pair=2)


def lengthened(learned: Tensor, length: int) -> Tensor:
    """The learned null context, cut or padded with zeros to the context's length, as the authors do."""
    return pad(learned[:length], (0, 0, 0, max(0, length - len(learned))))


CHUNKS = {12: 3, 24: 6, 32: 4, 40: 5}  # blocks of a chunk in the published depths
CHUNKED = re.compile(r"block_chunks\.(\d+)\.module\.(\d+)\.(.+)|blocks\.(\d+)\.(.+)")


def block_name(number: int, depth: int) -> str:
    """The authors' name of a block: blocks come in chunks, of one where no chunks are published."""
    chunk = CHUNKS.get(depth, 1)
    return f"block_chunks.{number // chunk}.module.{number % chunk}"


def unfused(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict whose blocks lie in chunks of any size, or in none, with the names of the published chunking."""
    found = {name: CHUNKED.fullmatch(name) for name in tensors}
    chunk = 1 + max((int(match[2]) for match in found.values() if match and match[2]), default=0)
    block_of = {
        name: (int(match[1]) * chunk + int(match[2]), match[3]) if match[3] else (int(match[4]), match[5])
        for name, match in found.items()
        if match
    }
    depth = 1 + max((number for number, _ in block_of.values()), default=0)

    def renamed(name: str) -> str:
        if name not in block_of:
            return name
        number, rest = block_of[name]
        return f"{block_name(number, depth)}.{rest}"

    return {renamed(name): value for name, value in tensors.items()}


# What is published

SIZES = {  # depth, width, heads; those whose weights are out are in VARIANTS
    "125M": (12, 768, 8), "layer16": (16, 1152, 12), "1B": (24, 1536, 16), "2B": (32, 2048, 16),
    "layer32": (32, 2080, 20), "layer40": (40, 2688, 24), "layer48": (48, 3360, 28), "8B": (40, 3584, 28),
    "20B": (58, 4608, 36),
}  # fmt: skip
HUB, LICENCE = "FoundationVision/Infinity", "MIT (FoundationVision/Infinity)"
README = "README of FoundationVision/Infinity, 1024x1024"


def arguments_of(size: str, bits: int = 32, patched: bool = False) -> dict[str, Any]:
    """The authors' arguments of a size, with those of the tokenizer that goes with it."""
    depth, width, heads = SIZES[size]
    return {
        "depth": depth, "embed_dim": width, "num_heads": heads, "mlp_ratio": 4, "norm_eps": 1e-6,
        "text_channels": 2048, "text_maxlen": 512, "text_encoder": ENCODER, "d_vae_codebook_dim": bits,
        "apply_spatial_patchify": int(patched), **(infinity_vae.F8 if patched else infinity_vae.F16),
    }  # fmt: skip


COUNTS = {
    "125M": 125_185_696, "layer16": 361_633_792, "1B": 940_944_832, "2B": 2_204_564_032, "layer32": 2_256_694_912,
    "layer40": 4_716_421_888, "layer48": 8_767_198_528, "8B": 8_375_791_824, "20B": 19_952_531_608,
}  # fmt: skip
PIXELS = {"0.06M": 7, "0.25M": 10, "1M": 13}  # the names of sizes, and how many grids of a table they take


def sizes_of(area: str, stride: int = 16) -> tuple[tuple[int, int], ...]:
    """The pictures (rows, columns) of all shapes of the tables; the square first."""
    last = PIXELS[area] - 1
    return tuple((rows * stride, columns * stride) for rows, columns in (g[last] for g in infinity_vae.schedules()))


def variant(size: str, files: tuple[File, ...], about: str, patched: bool = False) -> Variant:
    arguments = arguments_of(size, 14 if patched else 32, patched)
    vae = "d56_f8_14_patchify" if patched else "d32reg"
    tokenizer = File(f"infinity_vae_{vae}.pth", HUB, under=("vae",))
    return Variant(arguments, COUNTS[size], (*files, tokenizer), about)


def unpublished(size: str) -> Variant:
    """A size of which only the code is out: its weights have to be trained."""
    file = File(f"infinity_{size.lower()}.pth", under=("trainer", "gpt_fsdp"))
    return variant(size, (file,), f"{size}: its weights are not published, those of your own training are read")


SHARDS = "model.safetensors.index.json"
VARIANTS = {
    "2B": variant("2B", (File("infinity_2b_reg.pth", HUB),), "texts, read by flan-t5-xl, at about a million pixels"),
    "8B": variant(
        "8B", (File(f"infinity_8b_weights/{SHARDS}", HUB),), "2x2 tokens of 8x8 pixels at once; a million pixels", True,
    ),
    "8B-512": variant(
        "8B", (File(f"infinity_8b_512x512_weights/{SHARDS}", HUB),), "the same at a quarter of a million pixels", True,
    ),
    **{size: unpublished(size) for size in ("125M", "layer16", "1B", "layer32", "layer40", "layer48")},
}  # fmt: skip


def card(name: str) -> Card:
    """As in the authors' scripts."""
    area = "0.25M" if name == "8B-512" else "1M"
    return Card(
        f"infinity-{name}", sizes_of(area), guidance=3.0 if name.startswith("8B") else 4.0, top_k=900, top_p=0.97,
        licence=LICENCE, about=VARIANTS[name].about,
    )  # fmt: skip


PAGE = Page(
    name="infinity",
    title="Infinity",
    source="FoundationVision/Infinity 4c27bbb54a99",
    licence=LICENCE,
    variants=VARIANTS,
    parts=parts,
    source_name=source_name,
    ignored=(r"lvl_1L", r"attn_bias_for_masking", r".*\.zero_k_bias", *infinity_vae.PAGE.ignored),
    canonical=infinity_vae.canonical,
    unfused=unfused,
    reported=(
        Figure("GenEval of 2B", 0.69, README),
        Figure("GenEval of 2B, prompts rewritten", 0.73, README),
        Figure("DPG of 2B", 83.5, README),
        Figure("HPSv2.1 of 2B", 32.2, README),
        Figure("ImageReward of 2B", 0.96, README),
        Figure("GenEval of 8B, prompts rewritten", 0.79, README),
        Figure("DPG of 8B", 86.6, README),
    ),
    card=card,
)
