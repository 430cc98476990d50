"""Recorded stages of Image GPT's palette, recomputed here: ids of a picture and the picture of ids.

Chen et al. 2020 (Generative Pretraining from Pixels); the same palette is published as an array and inside the
preprocessor settings of the Hugging Face port.
"""

import torch
from torch import Tensor

from kiloword.tokenizers.autoencoder import Autoencoder
from kiloword.tokens import Layout
from kiloword.verification.proof import Proof, Record, Stages


def stages(record: Record) -> Stages:
    """The ids of a recorded picture, and the picture of recorded ids."""
    tokenizer, tensors = record.system, record.tensors
    pixels = tensors["in.image_u8"].movedim(-1, 1) / 127.5 - 1
    height, width = pixels.shape[2:]
    layout = Layout(((height, width),))

    return {
        "out.quant_ids": lambda: tokenizer.encode(pixels, layout).target,
        "out.greedy_image_u8": lambda: picture(tokenizer, tensors["out.greedy_ids"].long(), layout),
    }


def picture(tokenizer: Autoencoder, ids: Tensor, layout: Layout) -> Tensor:
    """Whole numbers up to 255, channels last."""
    known = torch.ones_like(ids, dtype=torch.bool)
    return ((tokenizer.decode(ids, layout, known) + 1) * 127.5).round().movedim(1, -1).to(torch.uint8)


PROOF = Proof(stages, weights=lambda weights, tensors: {"clusters": tensors["in.clusters"]})
