"""LlamaGen: a Llama that draws pictures token by token, from ImageNet's classes or from texts.

Sun et al. 2024 (Autoregressive Model Beats Diffusion); github.com/FoundationVision/LlamaGen.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from kiloword.engine.card import Card
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.entrance import BareEntranceConfig
from kiloword.orders.raster import RasterConfig
from kiloword.parts import ImageModelConfig, ModalityConfig
from kiloword.prompts.class_start import ClassStartConfig
from kiloword.prompts.features import FeaturesConfig
from kiloword.published import llamagen_vq
from kiloword.published.page import Figure, File, Page, Source, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.tokens_only import TokensOnlyConfig
from kiloword.tokens import Categorical
from kiloword.transformer import (
    AttentionConfig,
    MutedConfig,
    RMSNormConfig,
    RotaryConfig,
    StackConfig,
    SwiGLUConfig,
)

STRIDE = 16  # pixels a side of a token
ENCODER = "google/flan-t5-xl"


def parts(arguments: dict[str, Any]) -> ImageModelConfig:
    """Of the arguments of the authors' Transformer; under "tokenizer" those of its VQ, where that comes with it."""
    width, space = arguments["dim"], Categorical(arguments["vocab_size"])
    tokenizer = TokensOnlyConfig(space, STRIDE)
    if "tokenizer" in arguments:
        tokenizer = llamagen_vq.parts(arguments["tokenizer"])
    head = CategoricalConfig(space, width, entrance=BareEntranceConfig())
    prompt = ClassStartConfig(arguments.get("num_classes", 1000), width)
    if arguments.get("model_type", "c2i") == "t2i":
        channels, length = arguments.get("caption_dim", 2048), arguments.get("cls_token_num", 120)
        prompt = FeaturesConfig(channels, width, length, arguments.get("text_encoder", ""))
    return ImageModelConfig(
        ModalityConfig(tokenizer, RasterConfig(position_of="fed"), head), prompt, stack_of(arguments)
    )


def stack_of(arguments: dict[str, Any]) -> StackConfig:
    """Half of a head's channels rotate with the row, half with the column."""
    width, heads = arguments["dim"], arguments["n_head"]
    half, base = width // heads // 2, float(arguments.get("rope_base", 10000))
    hidden = int(2 * (4 * width) / 3)
    hidden = int((arguments.get("ffn_dim_multiplier") or 1) * hidden)
    hidden = -(-hidden // arguments.get("multiple_of", 256)) * arguments.get("multiple_of", 256)
    return StackConfig(
        width,
        arguments["n_layer"],
        AttentionConfig(heads, arguments.get("n_kv_head")),
        SwiGLUConfig(hidden),
        RMSNormConfig(arguments.get("norm_eps", 1e-5)),
        MutedConfig(RotaryConfig((0, 0, half, half), (base, base, base, base))),
    )


WEIGHTS = {
    "picture.head.embedding.weight": ("tok_embeddings.weight",),
    "picture.head.output.weight": ("output.weight",),
    "prompt.embedding.weight": ("cls_embedding.embedding_table.weight",),
    "prompt.enter.weight": ("cls_embedding.cap_proj.fc1.weight",),
    "prompt.out.weight": ("cls_embedding.cap_proj.fc2.weight",),
    "prompt.nothing": ("cls_embedding.uncond_embedding",),
    "transformer.norm.weight": ("norm.weight",),
}
BLOCK = {
    "attention.qkv.weight": ("attention.wqkv.weight",),
    "attention.out.weight": ("attention.wo.weight",),
    "attention_norm.weight": ("attention_norm.weight",),
    "feed_forward.gate_up.weight": ("feed_forward.w1.weight", "feed_forward.w3.weight"),
    "feed_forward.out.weight": ("feed_forward.w2.weight",),
    "feed_forward_norm.weight": ("ffn_norm.weight",),
}


def source_name(name: str, config: ImageModelConfig) -> Source:
    """The authors' rotary pairs are neighbours, here half a head apart."""
    if name.startswith("picture.tokenizer."):
        tokenizer = config.picture.tokenizer
        assert isinstance(tokenizer, AutoencoderConfig)
        source = llamagen_vq.source_name(name.removeprefix("picture.tokenizer."), tokenizer)
        return replace(source, names=tuple(f"vq.{source}" for source in source.names))
    if name in WEIGHTS:
        return Source(WEIGHTS[name])
    _, _, number, kind = name.split(".", 3)
    names = tuple(f"layers.{number}.{source}" for source in BLOCK[kind])
    if kind != "attention.qkv.weight":
        return Source(names)
    assert isinstance(config.transformer, StackConfig)
    return Source(names, changed=partial(pairs_apart, config.transformer.attention))


def pairs_apart(attention: AttentionConfig, weight: Tensor) -> Tensor:
    """The output channels of queries and keys, from rotary pairs of neighbours to pairs half a head apart."""
    key_heads = attention.key_heads or attention.heads
    rotated, all_heads = attention.heads + key_heads, attention.heads + 2 * key_heads
    channels = rearrange(weight, "(h d) w -> h d w", h=all_heads)
    apart = rearrange(channels[:rotated], "h (i pair) w -> h (pair i) w", pair=2)
    return torch.cat([apart, channels[rotated:]]).flatten(0, 1)


# What is published

C2I, T2I = "FoundationVision/LlamaGen", "peizesun/llamagen_t2i"
SIZES = {"B": (12, 12, 768), "L": (24, 16, 1024), "XL": (36, 20, 1280), "XXL": (48, 24, 1536), "3B": (24, 32, 3200)}
COUNTS = {
    "B": 110_888_448, "L": 342_910_976, "XL": 774_699_520, "XXL": 1_410_972_672, "3B": 3_096_659_200,
    "t2i-XL": 777_923_840,
}  # fmt: skip
GUIDANCE = {"B": 2.0, "L": 2.0, "XL": 1.75, "XXL": 1.75, "3B": 1.65}  # with which FID was measured
UNDER = ("model", "module", "state_dict")  # some files are flat
README = "github.com/FoundationVision/LlamaGen, README, ImageNet 256x256"


def arguments_of(size: str, pixels: int) -> dict[str, Any]:
    layers, heads, width = SIZES[size]
    return {
        "dim": width, "n_layer": layers, "n_head": heads, "multiple_of": 256, "vocab_size": 16384,
        "block_size": (pixels // STRIDE) ** 2, "tokenizer": llamagen_vq.VQ16,
    }  # fmt: skip


def of_classes(size: str, pixels: int) -> Variant:
    arguments = {**arguments_of(size, pixels), "model_type": "c2i", "num_classes": 1000, "cls_token_num": 1}
    side = pixels // STRIDE
    return Variant(
        arguments,
        COUNTS[size],
        (File(f"c2i_{size}_{pixels}.pt", C2I, under=UNDER), File("vq_ds16_c2i.pt", C2I, under=UNDER, part="vq")),
        f"ImageNet's classes at {pixels}x{pixels} pixels, {side}x{side} tokens; FID was measured with guidance "
        f"{GUIDANCE[size]} and no top_k",
    )


def of_texts(stage: int, pixels: int) -> Variant:
    arguments = {
        **arguments_of("XL", pixels), "model_type": "t2i", "caption_dim": 2048, "cls_token_num": 120,
        "text_encoder": ENCODER,
    }  # fmt: skip
    side = pixels // STRIDE
    return Variant(
        arguments,
        COUNTS["t2i-XL"],
        (
            File(f"t2i_XL_stage{stage}_{pixels}.pt", T2I, under=UNDER),
            File("vq_ds16_t2i.pt", T2I, under=UNDER, part="vq"),
        ),
        f"texts, read by flan-t5-xl, at {pixels}x{pixels} pixels, {side}x{side} tokens",
    )


VARIANTS = {
    **{f"{size}-{pixels}": of_classes(size, pixels) for pixels in (256, 384) for size in SIZES
       if pixels == 384 or size in ("B", "L")},
    "t2i-XL-256": of_texts(1, 256),
    "t2i-XL-512": of_texts(2, 512),
}  # fmt: skip


def card(variant: str) -> Card:
    """As in the authors' demos."""
    chosen = VARIANTS[variant]
    side = STRIDE * math.isqrt(chosen.arguments["block_size"])
    card = Card(f"llamagen-{variant}", ((side, side),), licence=PAGE.licence, about=chosen.about)
    if chosen.arguments["model_type"] == "t2i":
        return replace(card, guidance=7.5, top_k=1000)
    return replace(card, guidance=4.0, top_k=2000, prompts="class", classes="imagenet")


PAGE = Page(
    name="llamagen",
    title="LlamaGen",
    source="FoundationVision/LlamaGen ce98ec41",
    licence="MIT (FoundationVision/LlamaGen)",
    variants=VARIANTS,
    parts=parts,
    source_name=source_name,
    ignored=(r"freqs_cis", r"vq\.quantize\.codebook_used"),
    reported=(
        Figure("FID of B, 16x16 tokens", 5.46, README),
        Figure("FID of B, 24x24 tokens", 6.09, README),
        Figure("FID of L, 16x16 tokens", 3.80, README),
        Figure("FID of L, 24x24 tokens", 3.07, README),
        Figure("FID of XL, 24x24 tokens", 2.62, README),
        Figure("FID of XXL, 24x24 tokens", 2.34, README),
        Figure("FID of 3B, 24x24 tokens", 2.18, README),
    ),
    card=card,
)
