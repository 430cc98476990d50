"""Image GPT: pixels of 512 colours, one after the other; S, M and L, by OpenAI and in the port of Hugging Face.

Chen et al. 2020 (Generative Pretraining from Pixels); github.com/openai/image-gpt and transformers.
"""

import re
from dataclasses import replace
from math import isqrt
from typing import Any

from torch import Tensor

from kiloword.engine.card import Card
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.entrance import PositionEntranceConfig
from kiloword.orders.raster import RasterConfig
from kiloword.parts import ImageModelConfig, ModalityConfig
from kiloword.prompts.nothing import NothingConfig
from kiloword.published import igpt_palette
from kiloword.published.page import Figure, File, Page, Source, Variant, bundle_files
from kiloword.tokens import Categorical
from kiloword.transformer import AttentionConfig, GELUConfig, RMSNormConfig, StackConfig

PALETTE = igpt_palette.PAGE


def parts(arguments: dict[str, Any]) -> ImageModelConfig:
    """Of OpenAI's arguments, which name a side `n_px`, or of the port's, which has biases; the palette is the page's
    of that name."""
    port = "n_positions" in arguments
    positions = arguments["n_positions"] if port else arguments["n_px"] ** 2
    width, palette = arguments["n_embd"], PALETTE.parts(arguments)
    hidden = arguments.get("n_inner") or 4 * width
    colours = Categorical(palette.quantizer.size)
    head = CategoricalConfig(colours, width, entrance=PositionEntranceConfig(positions))
    stack = StackConfig(
        width,
        arguments["n_layer"],
        AttentionConfig(arguments["n_head"], bias=port),
        GELUConfig(hidden, approximate="quick", bias=port),
        RMSNormConfig(eps=arguments.get("layer_norm_epsilon", 1e-5)),
    )
    return ImageModelConfig(ModalityConfig(palette, RasterConfig(), head), NothingConfig(width), stack)


def _square(projection: Tensor) -> Tensor:
    """[heads, channels of a head, width] as a matrix."""
    return projection.flatten(0, 1)


# Our names, those in a block without its number -> OpenAI's variables.
OPENAI = {
    "picture.head.embedding.weight": Source(("model/wte",)),
    "picture.head.entrance.start": Source(("model/sos",)),
    "picture.head.entrance.place.weight": Source(("model/wpe",)),
    "picture.head.output.weight": Source(("model/wtet",)),
    "transformer.norm.weight": Source(("model/ln_f/g",)),
    "attention_norm.weight": Source(("model/h{}/ln_1/g",)),
    "attention.qkv.weight": Source(tuple(f"model/h{{}}/attn/{x}_proj" for x in "qkv"), changed=_square),
    "attention.out.weight": Source(("model/h{}/attn/c_proj",), changed=lambda heads: _square(heads).T),
    "feed_forward_norm.weight": Source(("model/h{}/ln_2/g",)),
    "feed_forward.up.weight": Source(("model/h{}/mlp/c_fc/w",), transposed=True),
    "feed_forward.out.weight": Source(("model/h{}/mlp/c_proj/w",), transposed=True),
}
# The same -> the port's. The last row of its embedding is the start.
PORT = {
    "picture.head.embedding.weight": Source(("transformer.wte.weight",), changed=lambda rows: rows[:-1].clone()),
    "picture.head.entrance.start": Source(("transformer.wte.weight",), changed=lambda rows: rows[-1].clone()),
    "picture.head.entrance.place.weight": Source(("transformer.wpe.weight",)),
    "picture.head.output.weight": Source(("lm_head.weight",)),
    "transformer.norm.weight": Source(("transformer.ln_f.weight",)),
    "attention_norm.weight": Source(("transformer.h.{}.ln_1.weight",)),
    "attention.qkv.weight": Source(("transformer.h.{}.attn.c_attn.weight",), transposed=True),
    "attention.qkv.bias": Source(("transformer.h.{}.attn.c_attn.bias",)),
    "attention.out.weight": Source(("transformer.h.{}.attn.c_proj.weight",), transposed=True),
    "attention.out.bias": Source(("transformer.h.{}.attn.c_proj.bias",)),
    "feed_forward_norm.weight": Source(("transformer.h.{}.ln_2.weight",)),
    "feed_forward.up.weight": Source(("transformer.h.{}.mlp.c_fc.weight",), transposed=True),
    "feed_forward.up.bias": Source(("transformer.h.{}.mlp.c_fc.bias",)),
    "feed_forward.out.weight": Source(("transformer.h.{}.mlp.c_proj.weight",), transposed=True),
    "feed_forward.out.bias": Source(("transformer.h.{}.mlp.c_proj.bias",)),
}


def source_name(name: str, config: ImageModelConfig) -> Source:
    """The port is known by its biases."""
    if name.startswith("picture.tokenizer."):
        return PALETTE.source_name(name.removeprefix("picture.tokenizer."), config.picture.tokenizer)
    assert isinstance(config.transformer, StackConfig)
    table = PORT if config.transformer.attention.bias else OPENAI
    block = re.fullmatch(r"transformer\.blocks\.(\d+)\.(.+)", name)
    if block is None:
        return table[name]
    source = table[block[2]]
    return replace(source, names=tuple(known.format(block[1]) for known in source.names))


def card(variant: str) -> Card:
    """OpenAI's sampler uses no top-k or top-p."""
    arguments = PAGE.variants[variant].arguments
    side = arguments["n_px"] if "n_px" in arguments else isqrt(arguments["n_positions"])
    return Card(
        name=f"{PAGE.name}/{variant}",
        sizes=((side, side),),
        licence=PAGE.licence,
        about=PAGE.variants[variant].about,
        prompts="nothing",
    )


_ADDRESS = "https://openaipublic.blob.core.windows.net/image-gpt/checkpoints"
SIZES = {  # width, heads, layers; parameters of OpenAI's and of the port's; shards; the port's name
    "s": (512, 8, 24, 76_571_648, 76_682_240, 32, "small"),
    "m": (1024, 8, 36, 455_157_760, 455_489_536, 32, "medium"),
    "l": (1536, 16, 48, 1_362_250_752, 1_362_914_304, 64, "large"),
}


def _openai(size: str) -> Variant:
    width, heads, layers, parameters, _, shards, _ = SIZES[size]
    arguments = {"n_px": 32, "n_vocab": 512, "n_embd": width, "n_head": heads, "n_layer": layers}
    step = "model.ckpt-1000000"
    files = bundle_files(f"{_ADDRESS}/igpt-{size}/1000000/{step}", f"{size}/{step}", shards)
    palette = PALETTE.variants["512"].files
    return Variant(arguments, parameters, (*files, *palette), "32x32 pixels, after 1,000,000 steps")


def _port(size: str) -> Variant:
    width, heads, layers, _, parameters, _, name = SIZES[size]
    arguments = {"n_positions": 1024, "vocab_size": 513, "n_embd": width, "n_head": heads, "n_layer": layers}
    files = [File(known, f"openai/imagegpt-{name}") for known in ("pytorch_model.bin", "preprocessor_config.json")]
    return Variant(arguments, parameters, tuple(files), "the same, from the port, with biases")


README = "github.com/openai/image-gpt, README: ImageNet's test pictures at 32x32"

PAGE = Page(
    name="igpt",
    title="Image GPT",
    source="openai/image-gpt c6af2ebf; transformers 5.23.0",
    licence="modified MIT (openai/image-gpt)",
    variants={size: _openai(size) for size in SIZES} | {f"{size}-hf": _port(size) for size in SIZES},
    parts=parts,
    source_name=source_name,
    ignored=(r"model/clf/wclf", r"transformer\.h\.\d+\.attn\.(masked_)?bias"),
    preparation=PALETTE.preparation,
    reported=(
        Figure("S: nats a pixel", 2.0895, README),
        Figure("M: nats a pixel", 2.0614, README),
        Figure("L: nats a pixel", 2.0466, README),
    ),
    card=card,
)
