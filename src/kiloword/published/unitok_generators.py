"""Generators on UniTok's tokens, eight codes each: a LlamaGen and a language model, with a transformer over the codes.

Ma et al. 2025 (UniTok, sections 3.3 and 4); github.com/FoundationVision/UniTok, eval/llamagen and eval/liquid.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kiloword.engine.card import Card
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.code_entrance import ProjectedCodesConfig
from kiloword.heads.entrance import BareEntranceConfig
from kiloword.heads.multicode_head import MulticodeHeadConfig
from kiloword.orders.raster import RasterConfig
from kiloword.orders.raster_1d import Raster1DConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.prompts.chat_template import ChatTemplateConfig
from kiloword.prompts.class_start import ClassStartConfig
from kiloword.published import language_models, llamagen, unitok
from kiloword.published.page import Figure, File, Page, Source, Variant
from kiloword.tokenizers.tokens_only import TokensOnlyConfig
from kiloword.tokenizers.wordbook import WordbookConfig
from kiloword.tokens import Categorical, Codes

STRIDE = 16  # pixels a side of a token
CODE_DIM = 8  # numbers of a code of UniTok's
DEPTH = 3  # layers of the language model's transformer over codes
CAPTION = 256  # tokens of a text that the language model writes


def parts(arguments: dict[str, Any]) -> ImageModelConfig:
    """Of the arguments of the authors' Transformer; under "tokenizer" those of UniTok, where that comes with it.

    `vocab_size` counts the codes of all codebooks.
    """
    space, stack = codes_of(arguments["vocab_size"], arguments["num_codebooks"]), llamagen.stack_of(arguments)
    tokenizer = TokensOnlyConfig(space, STRIDE)
    if "tokenizer" in arguments:
        tokenizer = unitok.parts(arguments["tokenizer"]).tokenizer
    depth = replace(stack, depth=arguments["n_output_layer"], position=None)
    head = MulticodeHeadConfig(space, stack.width, depth, entrance=BareEntranceConfig())
    prompt = ClassStartConfig(arguments.get("num_classes", 1000), stack.width)
    return ImageModelConfig(ModalityConfig(tokenizer, RasterConfig(position_of="fed"), head), prompt, stack)


def codes_of(size: int, books: int) -> Codes:
    """As many codes in each of the codebooks. Raises ValueError if they do not share them evenly."""
    if size % books:
        raise ValueError(f"{size} codes do not fall into {books} codebooks of one size: give a multiple of {books}")
    return Codes((size // books,) * books)


def source_name(name: str, config: ImageModelConfig) -> Source:
    """LlamaGen's names, but for codes: each codebook has its own matrices for input and output."""
    if name.startswith("picture.tokenizer."):
        wrapped = name.removeprefix("picture.")
        inner = replace(unitok.parts(unitok.ARGUMENTS), tokenizer=config.picture.tokenizer)
        source = unitok.source_name(wrapped, inner)
        return replace(source, names=tuple(f"unitok.{found}" for found in source.names))
    if name == "prompt.embedding.weight":
        assert isinstance(config.prompt, ClassStartConfig)
        return Source(("cls_embedding.embedding_table.weight",), changed=partial(with_null, config.prompt.classes))
    head = config.picture.head
    assert isinstance(head, MulticodeHeadConfig)
    books = len(head.space.sizes)
    match name.removeprefix("picture.head."):
        case "codes.weight":
            return Source(tuple(f"tok_embeddings.codebooks.{book}.weight" for book in range(books)))
        case "before":
            return Source(tuple(f"output.codebooks.{book}.weight" for book in range(books - 1)))
        case "output.weight" | "output.bias" as matrix:
            return Source((f"output.linear_head.{matrix.removeprefix('output.')}",))
        case "depth.norm.weight":
            return Source(("output.norm.weight",))
        case inner if inner.startswith("depth.blocks."):
            number, kind = inner.removeprefix("depth.blocks.").split(".", 1)
            return Source(tuple(f"output.layers.{number}.{part}" for part in llamagen.BLOCK[kind]))
    return llamagen.source_name(name, config)


def with_null(classes: int, table: Tensor) -> Tensor:
    """The classes' vectors, and zeros for no class where the authors trained none, as for drawing without guidance."""
    return torch.cat([table, torch.zeros_like(table[:1])]) if len(table) == classes else table


def language(arguments: dict[str, Any]) -> ImageModelConfig:
    """A language model that draws the same tokens, of its settings in transformers' layout and its special words.

    Its entrance projects the codes of each token by itself. That of the authors' own (FoundationVision/unitok_mllm)
    also lets tokens attend to those before them on the way in, so that its files do not fit.
    """
    stack, width = language_models.stack_of(arguments), arguments["hidden_size"]
    space, words = codes_of(arguments["codes"], arguments["num_codebooks"]), Categorical(arguments["vocab_size"])
    head = MulticodeHeadConfig(
        space, width, replace(stack, depth=DEPTH), entrance=BareEntranceConfig(), codes=ProjectedCodesConfig(CODE_DIM)
    )
    return ImageModelConfig(
        picture=ModalityConfig(TokensOnlyConfig(space, STRIDE), Raster1DConfig(), head),
        prompt=ChatTemplateConfig(arguments["open"], arguments["close"], arguments["unconditional"], arguments["bos"]),
        transformer=stack,
        text=TextConfig(
            WordbookConfig(words.size, arguments["eos"]),
            CategoricalConfig(words, width, entrance=BareEntranceConfig()),
            limit=CAPTION,
        ),
    )


def card(variant: str) -> Card:
    """As in the authors' script; without guidance, for which nothing was trained."""
    chosen = PAGE.variants[variant]
    side = STRIDE * math.isqrt(chosen.arguments["block_size"])
    return Card(
        f"unitok-llamagen-{variant}", ((side, side),), guidance=1.0, temperature=0.9, licence=PAGE.licence,
        about=chosen.about, prompts="class", classes="imagenet",
    )  # fmt: skip


# What is published

XXL = {
    **llamagen.arguments_of("XXL", 256), "vocab_size": 32768, "num_codebooks": 8, "n_output_layer": 4,
    "num_classes": 1000, "class_dropout_prob": 0, "tokenizer": unitok.ARGUMENTS,
}  # fmt: skip
LLAMA_2_7B = {  # of the language model, whose picture begins behind the byte 0
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "vocab_size": 32000, "rms_norm_eps": 1e-5, "codes": 32768, "num_codebooks": 8,
    "bos": 1, "eos": 2, "open": 3, "close": 2, "unconditional": 0,
}  # fmt: skip
README = "README of FoundationVision/UniTok"

PAGE = Page(
    name="unitok-llamagen",
    title="UniTok's LlamaGen",
    source="FoundationVision/UniTok bb8012e8e8d7, eval/llamagen",
    licence="MIT (FoundationVision/UniTok)",
    variants={
        "XXL-256": Variant(
            XXL,
            1_574_568_448,  # with an embedding for no class, which the original lacks
            (
                File("c2i_XXL_256.pt", under=llamagen.UNDER),
                replace(unitok.PAGE.variants["vitamin_large"].files[0], part="unitok"),
            ),
            "ImageNet's classes at 256x256 pixels, 16x16 tokens of 8 codes; trained without a null class",
        ),
    },
    parts=parts,
    source_name=source_name,
    ignored=(
        r"freqs_cis", *(rf"unitok\.{pattern}" for pattern in unitok.PAGE.ignored),
        r"unitok\.(text_encoder|fc_norm|projection)\..*", r"unitok\.logit_scale",
    ),
    reported=(
        Figure("FID, ImageNet 256x256, XXL without guidance", 2.51, README),
        Figure("the same on LlamaGen's own tokens", 14.6, README),
        Figure("GenAI-Bench, the language model", 0.67, README),
    ),
    card=card,
)  # fmt: skip
