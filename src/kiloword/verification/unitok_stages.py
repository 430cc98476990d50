"""Recorded stages of UniTok, recomputed here: from the picture to ids and back, and both sides of the comparison.

Ma et al. 2025 (A Unified Tokenizer for Visual Generation and Understanding); github.com/FoundationVision/UniTok.
"""

import torch
from einops import rearrange
from torch import Tensor

from kiloword.tokenizers.factorisation import Projection
from kiloword.verification.proof import Proof, Record, Stages


def stages(record: Record) -> Stages:
    """From the picture to the ids; from the recorded ids to the reconstruction; and both sides of the comparison."""
    system, tensors = record.system, record.tensors
    tokenizer, pixels = system.tokenizer, tensors["image"]
    encoder, decoder = tokenizer.encoder, tokenizer.decoder
    layout = tokenizer.layout(*pixels.shape[-2:])
    ids = rearrange(tensors["indices"], "b k n -> b n k")

    def codes() -> Tensor:
        return tokenizer.quantizer.lookup(ids, layout)

    def attended(project: Projection, vectors: Tensor) -> Tensor:
        return project.attention(project.attention_norm(vectors))

    def picture() -> Tensor:
        known = torch.ones(ids.shape[:2], dtype=torch.bool)
        return tokenizer.decode(ids, layout, known).clamp(-1, 1)

    return {
        "patch_embed": lambda: _flat(encoder.network.patches(pixels)),
        "encoder_out": lambda: _flat(encoder.network(pixels, layout)),
        "attn_down": lambda: attended(encoder.project, tensors["encoder_out"]),
        "quant_proj": lambda: _flat(encoder(pixels, layout)),
        "indices": lambda: rearrange(tokenizer.encode(pixels, layout).target, "b n k -> b k n"),
        "codes": lambda: _flat(codes()),
        "attn_up": lambda: attended(decoder.project, tensors["codes"]),
        "post_quant": lambda: _flat(decoder.features(codes(), layout)),
        "recon": picture,
        "clip_image": lambda: system.picture_vectors(system.encode(pixels, layout).latent, layout),
        "clip_text": lambda: system.text_vectors(tensors["text_tokens"]),
    }


def _flat(grid: Tensor) -> Tensor:
    return rearrange(grid, "b c h w -> b (h w) c")


PROOF = Proof(stages)
