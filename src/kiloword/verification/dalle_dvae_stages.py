"""Recorded stages of DALL-E's discrete VAE, recomputed here: the authors' notebook, stage by stage.

Ramesh et al. 2021 (Zero-Shot Text-to-Image Generation); github.com/openai/DALL-E.
"""

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from kiloword.tokenizers.logit_laplace import map_pixels
from kiloword.tokens import Layout
from kiloword.verification.proof import Proof, Record, Stages


def stages(record: Record) -> Stages:
    """The authors' notebook, stage by stage; its pixels and reconstructions are in [0, 1]."""
    tensors, system = record.tensors, record.system
    pixels = tensors["in.image_u8"].float() / 127.5 - 1
    layout = system.layout(*pixels.shape[-2:])
    encoder = system.encoder

    def entered() -> Tensor:
        return encoder.enter(map_pixels(pixels))

    def raw(tokens: Tensor) -> Tensor:
        """All channels of the decoder, from ids [b, h, w] or distributions [b, h, w, v]."""
        _, h, w = tokens.shape[:3]
        latent = system.quantizer.lookup(tokens.flatten(1, 2), Layout(((h, w),)))
        return torch.cat(system.decoder.distribution(latent), dim=1)

    def recon(ids: Tensor) -> Tensor:
        _, h, w = ids.shape
        known = torch.ones_like(ids, dtype=torch.bool).flatten(1)
        return (system.decode(ids.flatten(1), Layout(((h, w),)), known) + 1) / 2

    def thinned(name: str, whole: Tensor) -> Tensor:
        """Every n-th row and column: as many as were recorded."""
        (h, w), (rows, columns) = whole.shape[-2:], tensors[name].shape[-2:]
        return whole[..., :: h // rows, :: w // columns]

    return {
        "out.mapped": lambda: map_pixels(pixels),
        "out.enc_input_conv": lambda: thinned("out.enc_input_conv", entered()),
        "out.enc_group_1": lambda: thinned("out.enc_group_1", max_pool2d(encoder.groups[0](entered()), 2)),
        "out.z_logits": lambda: encoder(pixels, layout),
        "out.ids": lambda: system.encode(pixels, layout).target.view_as(tensors["out.ids"]),
        "out.dec_raw": lambda: raw(tensors["out.ids"]),
        "out.recon": lambda: recon(tensors["out.ids"]),
        "out.rand_dec_raw": lambda: raw(tensors["in.rand_ids"]),
        "out.rand_recon": lambda: recon(tensors["in.rand_ids"]),
        "out.soft_dec_raw": lambda: raw(tensors["in.soft_logits"].softmax(1).movedim(1, -1)),
    }


PROOF = Proof(stages)
