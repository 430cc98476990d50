"""Liquid: a pretrained language model to whom a picture is 1,024 more words, drawn and read in one stream with text.

Wu et al. 2024 (Language Models are Scalable and Unified Multi-modal Generators); github.com/FoundationVision/Liquid.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence

from kiloword.engine.decode import draw
from kiloword.engine.painter import Card
from kiloword.heads.extended_vocab import ExtendedVocabConfig, ExtendedVocabHead
from kiloword.heads.head import Sampling, keep, weigh
from kiloword.model import Drawing, ImageModel
from kiloword.noise import Seeded
from kiloword.orders.raster_1d import Raster1DConfig
from kiloword.parts import ImageModelConfig, ModalityConfig, TextConfig
from kiloword.prompts.chat_template import ChatTemplate, ChatTemplateConfig
from kiloword.published import chameleon, language_models
from kiloword.published.listen import heard
from kiloword.published.page import Figure, File, From, Page, Record, Stages, Variant
from kiloword.stream import lay, text_span
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.tokens_only import TokensOnlyConfig
from kiloword.tokenizers.wordbook import WordbookConfig
from kiloword.tokens import Categorical, Layout
from kiloword.transformer import StackConfig

# Axes: b texts, t tokens of a text and a picture, s steps, c ids of the vocabulary.

STRIDE = 16  # pixels a side of a token
CAPTION = 256  # tokens of a text that is read off a picture
LEFT_OUT = -100  # the label of tokens that no loss asks for


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


def theirs(name: str, config: ImageModelConfig) -> From:
    """The language model keeps transformers' names; the VQGAN's stand behind "vqgan."."""
    if name.startswith("picture.tokenizer."):
        tokenizer = config.picture.tokenizer
        assert isinstance(tokenizer, AutoencoderConfig)
        source = chameleon.theirs(name.removeprefix("picture.tokenizer."), tokenizer)
        return replace(source, names=tuple(f"vqgan.{theirs}" for theirs in source.names))
    if name.startswith("transformer."):
        assert isinstance(config.transformer, StackConfig)
        return language_models.theirs(name.removeprefix("transformer."), config.transformer)
    head = config.picture.head
    assert isinstance(head, ExtendedVocabConfig)
    room = partial(language_models.with_room, words=head.text.size, pictures=head.picture.size)
    return From((HEAD[name],), changed=room)


HEAD = {
    "picture.head.embedding.weight": "model.embed_tokens.weight",
    "picture.head.output.weight": "lm_head.weight",
}


# Checks


def stages(record: Record) -> Stages:
    """Prompts as the authors lay them out; the likeliest tokens, drawn with guidance by the engine and its cache; whole
    sequences at once; and the loss of one picture behind its prompt."""
    model, tensors, settings = record.system, record.tensors, record.settings["settings"]["sampling"]
    first, count = record.arguments["text_vocab"], len(tensors["sampled_ids"])
    rows = zip(tensors["prompt_ids"], tensors["attention_mask"], strict=True)
    prompts = [ids[present.bool()] for ids, present in rows][:count]
    whole = [*prompts, *[torch.tensor(model.prompt.ids(None))] * count]
    chosen = Sampling(settings["temperature"], settings["top_k"], settings["top_p"])

    def drawing() -> tuple[Tensor, Tensor, Tensor]:
        return drawn(model, prompts, settings["steps"], settings["cfg_scale"])

    def filtered() -> Tensor:
        kept = keep(drawing()[2][:, 0, first:], chosen).softmax(-1)
        return pad(kept, (first, 0))

    def taught() -> Tensor:
        sampled = tensors["sampled_ids"].repeat(2, 1)
        told = [torch.cat(pair) for pair in zip(whole, sampled, strict=True)]
        return torch.stack([values[-3:] for values in said(model, told)])

    ids = tensors["train_ids"][0]
    return {
        "prompt_ids": lambda: left_padded(whole, record.arguments["pad"]),
        "attention_mask": lambda: left_padded([torch.ones_like(ids) for ids in whole], 0),
        "step_logits": lambda: drawing()[1],
        "guided_logits": lambda: drawing()[2],
        "first_step_filtered_probs": filtered,
        "sampled_ids": lambda: drawing()[0] + first,
        "image_codes": lambda: drawing()[0],
        "full_logits_last3": taught,
        "train_ids": lambda: training_step(model, ids)[0],
        "train_labels": lambda: training_step(model, ids)[1],
        "train_loss": lambda: lesson_loss(model, ids),
    }


def left_padded(texts: list[Tensor], value: int) -> Tensor:
    """Texts that end together, as the authors batch them; here absent rows stand behind."""
    return pad_sequence([text.flip(0) for text in texts], batch_first=True, padding_value=value).flip(1)


def drawn(
    model: ImageModel, prompts: list, steps: int, guidance: float, way: Any = draw
) -> tuple[Int[Tensor, "b s"], Float[Tensor, "_ s c"], Float[Tensor, "b s c"]]:
    """The likeliest picture tokens, one after the other, and at every step the logits of all ids: of prompts, then
    without, and guided."""
    condition, b = model.prompt.read(prompts), len(prompts)
    weights = torch.tensor([[guidance], [1 - guidance]]).expand(2, b)
    views = [condition, model.prompt.null(condition)]
    request = Drawing(Layout(((1, steps),)), views, weights, Sampling(0))
    taken: list[Tensor] = []
    work = way(model, request, Seeded([0] * b))
    hidden, _ = heard(head_of(model).output_projection, lambda: taken.extend(now.tokens for now in work))
    logits = head_of(model).logits(torch.cat(hidden, dim=2))
    return taken[-1], logits.flatten(0, 1), weigh(logits, weights)


def said(model: ImageModel, texts: list[Tensor]) -> list[Float[Tensor, "t c"]]:
    """Logits behind every id of texts of any ids: the language model as it is."""
    head, counts = head_of(model), torch.tensor([len(text) for text in texts])
    ids = pad_sequence(texts, batch_first=True)
    present = torch.arange(ids.shape[1]) < counts[:, None]
    rows = head.embedding(ids) * head.config.gain
    logits = head.logits(model.transformer(lay([text_span(rows, present, causal=True)])))
    return [values[:count] for values, count in zip(logits, counts.tolist(), strict=True)]


def head_of(model: ImageModel) -> ExtendedVocabHead:
    """The whole vocabulary."""
    assert isinstance(model.picture.head, ExtendedVocabHead)
    return model.picture.head


def training_step(model: ImageModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """What is learned from a prompt and a picture: all ids, and those that the loss asks for; both end with the id that
    closes a picture and the one that ends a text."""
    prompt, codes = parted(model, ids)
    assert isinstance(model.prompt, ChatTemplate) and model.text is not None
    end = torch.tensor([model.prompt.config.close, model.text.tokenizer.end])
    whole = torch.cat([prompt, codes + head_of(model).config.first, end])
    labels = torch.where(torch.arange(len(whole)) < len(prompt), LEFT_OUT, whole)
    return whole[None], labels[None]


def parted(model: ImageModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """A prompt up to the id that opens a picture, and the picture's tokens."""
    first = head_of(model).config.first
    drawn = ids >= first
    return ids[: int(drawn.int().argmax())], ids[drawn] - first


def lesson_loss(model: ImageModel, ids: Tensor) -> Tensor:
    """Mean over the picture's tokens, as the model's own loss has them, and the two ids behind them."""
    prompt, codes = parted(model, ids)
    whole, _ = training_step(model, ids)
    layout = Layout(((1, len(codes)),))
    pictures, _ = model.loss([prompt], codes[None], codes[None], layout)
    behind = cross_entropy(said(model, [whole[0]])[0][-3:-1], whole[0, -2:], reduction="none")
    return torch.cat([pictures[0], behind]).mean()


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
    theirs=theirs,
    stages=stages,
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
