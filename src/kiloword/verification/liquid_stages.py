"""Recorded stages of Liquid, recomputed here: prompts, drawing with guidance, whole sequences, and the loss.

Wu et al. 2024 (Language Models are Scalable and Unified Multi-modal Generators); github.com/FoundationVision/Liquid.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence

from kiloword.document import Piece, lay, text_span, to_draw, to_learn
from kiloword.drawing import Drawing
from kiloword.engine.drive import draw
from kiloword.heads.extended_vocab import ExtendedVocabHead
from kiloword.heads.head import Sampling, combine_views, filter_logits
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.prompts.chat_template import ChatTemplate
from kiloword.tokens import Layout
from kiloword.verification.hooks import recorded_calls
from kiloword.verification.proof import Proof, Record, Stages

# Axes: b texts, t tokens of a text and a picture, s steps, c ids of the vocabulary.


LEFT_OUT = -100  # the label of tokens that the loss leaves out


def stages(record: Record) -> Stages:
    """Prompts as the authors lay them out; the likeliest tokens, drawn with guidance by the engine and its cache; whole
    sequences at once; and the loss of one picture behind its prompt."""
    model, tensors, settings = record.system, record.tensors, record.settings["settings"]["sampling"]
    first, count = record.arguments["text_vocab"], len(tensors["sampled_ids"])
    pairs = zip(tensors["prompt_ids"], tensors["attention_mask"], strict=True)
    prompts = [ids[present.bool()] for ids, present in pairs][:count]
    whole = [*prompts, *[torch.tensor(model.prompt.ids(None))] * count]
    chosen = Sampling(settings["temperature"], settings["top_k"], settings["top_p"])

    def drawing() -> tuple[Tensor, Tensor, Tensor]:
        return drawn(model, prompts, settings["steps"], settings["cfg_scale"])

    def filtered() -> Tensor:
        kept = filter_logits(drawing()[2][:, 0, first:], chosen).softmax(-1)
        return pad(kept, (first, 0))

    def teacher_forced() -> Tensor:
        sampled = tensors["sampled_ids"].repeat(2, 1)
        sequences = [torch.cat(pair) for pair in zip(whole, sampled, strict=True)]
        return torch.stack([values[-3:] for values in logits_of(model, sequences)])

    ids = tensors["train_ids"][0]
    return {
        "prompt_ids": lambda: left_padded(whole, record.arguments["pad"]),
        "attention_mask": lambda: left_padded([torch.ones_like(ids) for ids in whole], 0),
        "step_logits": lambda: drawing()[1],
        "guided_logits": lambda: drawing()[2],
        "first_step_filtered_probs": filtered,
        "sampled_ids": lambda: drawing()[0] + first,
        "image_codes": lambda: drawing()[0],
        "full_logits_last3": teacher_forced,
        "train_ids": lambda: training_step(model, ids)[0],
        "train_labels": lambda: training_step(model, ids)[1],
        "train_loss": lambda: training_loss(model, ids),
    }


def left_padded(texts: list[Tensor], value: int) -> Tensor:
    """Texts padded on the left, as the authors batch them; kiloword pads on the right."""
    return pad_sequence([text.flip(0) for text in texts], batch_first=True, padding_value=value).flip(1)


def drawn(
    model: ImageModel, prompts: list, steps: int, guidance: float, way: Any = draw
) -> tuple[Int[Tensor, "b s"], Float[Tensor, "_ s c"], Float[Tensor, "b s c"]]:
    """Greedy picture tokens, and at every step the logits of all ids: with prompts, then without, and guided."""
    layout, b = Layout(((1, steps),)), len(prompts)
    weights = torch.tensor([[guidance], [1 - guidance]]).expand(2, b)
    views = [model.opening(to_draw(prompts, layout), null) for null in (False, True)]
    request = Drawing(layout, views, weights, Sampling(0))
    taken: list[Tensor] = []
    work = way(model, request, Seeded([0] * b))
    hidden, _ = recorded_calls(head_of(model).output_projection, lambda: taken.extend(now.tokens for now in work))
    logits = head_of(model).logits(torch.cat(hidden, dim=2))
    return taken[-1], logits.flatten(0, 1), combine_views(logits, weights)


def logits_of(model: ImageModel, texts: list[Tensor]) -> list[Float[Tensor, "t c"]]:
    """Logits at every id of texts of any ids, of the plain language model."""
    head, counts = head_of(model), torch.tensor([len(text) for text in texts])
    ids = pad_sequence(texts, batch_first=True)
    present = torch.arange(ids.shape[1]) < counts[:, None]
    vectors = head.embedding(ids) * head.config.gain
    laid = lay([[Piece(0, row)] for row in range(len(ids))], [text_span(vectors, present, causal=True)])
    logits = head.logits(model.transformer(laid.stream))
    return [values[:count] for values, count in zip(logits, counts.tolist(), strict=True)]


def head_of(model: ImageModel) -> ExtendedVocabHead:
    """The head over the whole vocabulary."""
    assert isinstance(model.picture.head, ExtendedVocabHead)
    return model.picture.head


def training_step(model: ImageModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """A training example of a prompt and a picture: all ids, and the labels of the loss; both end with the id that
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


def training_loss(model: ImageModel, ids: Tensor) -> Tensor:
    """Mean over the picture's tokens, as the model's own loss has them, and the two ids behind them."""
    prompt, codes = parted(model, ids)
    whole, _ = training_step(model, ids)
    layout = Layout(((1, len(codes)),))
    pictures = model.loss(to_learn([prompt], layout, codes[None]))["picture"].values
    behind = cross_entropy(logits_of(model, [whole[0]])[0][-3:-1], whole[0, -2:], reduction="none")
    return torch.cat([pictures[0], behind]).mean()


PROOF = Proof(stages)
