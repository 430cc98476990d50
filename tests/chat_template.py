"""Tiny models in the shape of Liquid: a language model with a tokenizer.json and picture tokens behind its words."""

from functools import cache

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

import tiny
from kiloword.heads.extended_vocab import ExtendedVocabConfig
from kiloword.model import ImageModel
from kiloword.orders.raster_1d import Raster1DConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.prompts.chat_template import ChatTemplateConfig
from kiloword.tokenizers.wordbook import WordbookConfig
from kiloword.tokens import Categorical
from kiloword.transformer import AttentionConfig, GemmaGLUConfig, RotaryConfig

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<open>", "<close>", "<nothing>")
END, BEGIN, OPEN, CLOSE, NOTHING = 1, 2, 4, 5, 6
CODES = 5


@cache
def wordbook() -> str:
    """A tokenizer.json of bytes and a few pieces, as those of language models are; it begins texts with <bos>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=[AddedToken(word, special=True) for word in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator([*tiny.TEXTS, " Draw this.", "This shows:"] * 5, trainer)
    tokenizer.enable_padding(length=99)
    return tokenizer.to_str()


def words() -> WordbookConfig:
    """With a few embeddings more than there are tokens."""
    return WordbookConfig(330, END, wordbook())


def config(begin: int | None = BEGIN, tied: bool = True, depth: int = 2, limit: int = 8) -> ImageModelConfig:
    """Pictures of 4 rows and 2 columns of tokens."""
    text = words()
    head = ExtendedVocabConfig(Categorical(text.size), Categorical(CODES), tiny.WIDTH, tied, gain=4.0 if tied else 1.0)
    attention = AttentionConfig(2, key_heads=1, head_dim=12, bias=True, out_bias=False)
    stack = tiny.stack(
        depth=depth, attention=attention, feed_forward=GemmaGLUConfig(24), position=RotaryConfig((12, 0, 0, 0))
    )
    prompt = ChatTemplateConfig(OPEN, CLOSE, NOTHING, begin, " Draw this.", "This shows:", limit=60)
    pictures = ModalityConfig(tiny.ShadesConfig(CODES), Raster1DConfig(), head)
    return ImageModelConfig(pictures, prompt, stack, TextConfig(text, head, limit=limit))


def model(seed: int = 0, **changes) -> ImageModel:
    """One whose every parameter does something."""
    torch.manual_seed(seed)
    return tiny.awake(config(**changes).build()).eval()
