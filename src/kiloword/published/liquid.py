"""Liquid: a pretrained language model to whom a picture is 1,024 more words, drawn and read in one stream with text.

Wu et al. 2024 (Language Models are Scalable and Unified Multi-modal Generators); github.com/FoundationVision/Liquid.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from kiloword.engine.card import Card
from kiloword.heads.extended_vocab import ExtendedVocabConfig
from kiloword.orders.raster_1d import Raster1DConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.prompts.chat_template import ChatTemplateConfig
from kiloword.published import chameleon, language_models
from kiloword.published.page import Figure, File, Page, Source, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.tokens_only import TokensOnlyConfig
from kiloword.tokenizers.wordbook import WordbookConfig
from kiloword.tokens import Categorical
from kiloword.transformer import StackConfig

STRIDE = 16  # pixels a side of a token
CAPTION = 256  # tokens of a text that is read off a picture


def parts(arguments: dict[str, Any]) -> ImageModelConfig:
    """Of the settings of the language model, how many of its ids are words (`text_vocab`) and how many behind them
    picture tokens (`image_tokens`), and its special words; under "tokenizer" those of the VQGAN, where that comes with
    it, and under "wordbook" its tokenizer.json."""
    words, codes = Categorical(arguments["text_vocab"]), Categorical(arguments["image_tokens"])
    tokenizer = TokensOnlyConfig(codes, STRIDE)
    if "tokenizer" in arguments:
        tokenizer = chameleon.parts(arguments["tokenizer"])
    tied, gain = language_models.tied(arguments), language_models.gain(arguments)
    head = ExtendedVocabConfig(words, codes, arguments["hidden_size"], tied, gain)
    wordbook = WordbookConfig(words.size, arguments["eos"], arguments.get("wordbook", ""))
    return ImageModelConfig(
        picture=ModalityConfig(tokenizer, Raster1DConfig(), head),
        prompt=ChatTemplateConfig(arguments["boi"], arguments["eoi"], arguments["unconditional"], arguments.get("bos")),
        transformer=language_models.stack_of(arguments),
        text=TextConfig(wordbook, head, limit=CAPTION),
    )


def source_name(name: str, config: ImageModelConfig) -> Source:
    """The language model keeps transformers' names; the VQGAN's stand behind "vqgan."."""
    if name.startswith("picture.tokenizer."):
        tokenizer = config.picture.tokenizer
        assert isinstance(tokenizer, AutoencoderConfig)
        source = chameleon.source_name(name.removeprefix("picture.tokenizer."), tokenizer)
        return replace(source, names=tuple(f"vqgan.{source}" for source in source.names))
    if name.startswith("transformer."):
        assert isinstance(config.transformer, StackConfig)
        return language_models.source_name(name.removeprefix("transformer."), config.transformer)
    head = config.picture.head
    assert isinstance(head, ExtendedVocabConfig)
    checked = partial(language_models.checked_vocabulary, words=head.text.size, pictures=head.picture.size)
    return Source((HEAD[name],), changed=checked)


HEAD = {
    "picture.head.embedding.weight": "model.embed_tokens.weight",
    "picture.head.output.weight": "lm_head.weight",
}


# What is published

GEMMA_7B = {
    "model_type": "gemma", "hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 16, "head_dim": 256, "intermediate_size": 24576, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
    "text_vocab": 256_000, "image_tokens": 8192, "pad": 0, "eos": 1, "bos": 2, "boi": 7, "eoi": 8, "unconditional": 9,
    "tokenizer": chameleon.PAGE.variants["8192"].arguments,
}  # fmt: skip
REPOSITORY = "Junfeng5/Liquid_V1_7B"
PAPER, UNITOK = "Wu et al. 2024 (arXiv 2412.04332)", "Ma et al. 2025 (UniTok, arXiv 2502.20321)"


def card(variant: str) -> Card:
    """As in the authors' evaluation."""
    return Card(
        f"liquid/{variant}", ((512, 512),), licence=PAGE.licence, about=PAGE.variants[variant].about, guidance=7.0,
        temperature=0.99, top_k=4096, top_p=0.96,
    )  # fmt: skip


PAGE = Page(
    name="liquid",
    title="Liquid",
    source="FoundationVision/Liquid 4609c476; transformers 5.23.0",
    licence="MIT (FoundationVision/Liquid); Gemma's terms of use; Chameleon Research License (Meta; no commercial use)",
    variants={
        "7b": Variant(
            GEMMA_7B,
            8_562_846_720,
            (
                File("model.safetensors.index.json", REPOSITORY),
                File("tokenizer.json", REPOSITORY, argument="wordbook"),
                File("vqgan.ckpt", url=chameleon.ADDRESS, under=("state_dict",), part="vqgan"),
            ),
            "Gemma 7B with 8192 picture tokens: texts at 512x512 pixels, 32x32 tokens; it describes pictures too",
        ),
    },
    parts=parts,
    source_name=source_name,
    ignored=(r"lm_head\.weight", r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"vqgan\.loss\..*"),
    preparation=chameleon.PAGE.preparation,
    reported=(
        Figure("FID on MJHQ-30K", 5.47, PAPER),
        Figure("GenAI-Bench, overall", 0.65, UNITOK),
        Figure("VQAv2", 71.3, PAPER),
        Figure("GQA", 58.4, PAPER),
        Figure("TextVQA", 42.4, PAPER),
        Figure("POPE", 81.1, PAPER),
    ),
    card=card,
)
