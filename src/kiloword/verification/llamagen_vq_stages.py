"""Recorded stages of LlamaGen's tokenizers, recomputed here: encoding and decoding, through ids and through latents.

Sun et al. 2024 (Autoregressive Model Beats Diffusion); github.com/FoundationVision/LlamaGen.
"""

import torch
from torch import Tensor

from kiloword.verification.proof import Proof, Record, Stages


def stages(record: Record) -> Stages:
    """Encoding and decoding, through ids and through latents; and the pictures of random ids."""
    tensors, system = record.tensors, record.system
    pixels = tensors["in.image_u8"] / 127.5 - 1
    layout = system.layout(*pixels.shape[2:])
    encoder, decoder, quantizer = system.encoder, system.decoder, system.quantizer

    def decoded(ids: Tensor) -> Tensor:
        return system.decode(ids, layout, torch.ones_like(ids, dtype=torch.bool))

    return {
        "out.enc": lambda: encoder.trunk(pixels),
        "out.z": lambda: encoder(pixels, layout),
        "out.ids": lambda: system.encode(pixels, layout).target,
        "out.quant": lambda: system.encode(pixels, layout).latent,
        "out.recon": lambda: decoder(system.encode(pixels, layout).latent, layout),
        "out.recon_from_ids": lambda: decoded(tensors["out.ids"]),
        "out.rand_quant": lambda: quantizer.lookup(tensors["in.rand_ids"], layout),
        "out.rand_recon": lambda: decoded(tensors["in.rand_ids"]),
    }


PROOF = Proof(stages)
