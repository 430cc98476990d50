"""Recorded stages of Chameleon's VQGAN, recomputed here: encoding, decoding, and the codebook's loss.

Chameleon Team 2024 (Mixed-Modal Early-Fusion Foundation Models), Wu et al. 2024 (Liquid), after Esser et al. 2021
(taming transformers); github.com/facebookresearch/chameleon.
"""

import torch
from torch import Tensor

from kiloword.verification.proof import Proof, Record, Stages


def stages(record: Record) -> Stages:
    """Encoding, decoding, and the loss that trained the codebook. The smallest margin of an id, recorded for
    information, is a difference of rounding errors."""
    pixels, system = record.tensors["image"], record.system
    layout = system.layout(*pixels.shape[2:])

    def loss() -> Tensor:
        losses = system.encode(pixels, layout).losses
        return losses["commitment_loss"] + 0.25 * losses["codebook_loss"]

    def recon() -> Tensor:
        ids = record.tensors["ids"]
        return system.decode(ids, layout, torch.ones_like(ids, dtype=torch.bool))

    return {
        "encoder_out": lambda: system.encoder.trunk(pixels),
        "latent": lambda: system.encoder(pixels, layout),
        "ids": lambda: system.encode(pixels, layout).target,
        "quantized": lambda: system.encode(pixels, layout).latent,
        "recon": recon,
        "quant_loss_legacy": loss,
    }


PROOF = Proof(stages)
