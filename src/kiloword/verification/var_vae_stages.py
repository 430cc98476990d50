"""Recorded stages of VAR's tokenizer, recomputed here: the quantizer alone, or the whole autoencoder.

Tian et al. 2024 (Visual Autoregressive Modeling); github.com/FoundationVision/VAR.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from kiloword.tokenizers.quantizer import forget
from kiloword.tokenizers.residual import Residual
from kiloword.tokens import Layout
from kiloword.verification.proof import Proof, Record, Stages


def stages(record: Record) -> Stages:
    alone = isinstance(record.system, Residual)
    return _stages_of_quantizer(record) if alone else _stages_of_autoencoder(record)


def _stages_of_quantizer(record: Record) -> Stages:
    """Encoding; from ids the accumulated latents and the transformer's inputs."""
    tensors, quantizer = record.tensors, record.system
    latent, ids, drawn = tensors["in.f"], tensors["out.ids"], tensors["in.rand_ids"]
    layout = Layout(quantizer.grids(*latent.shape[2:]))
    count = len(layout.sizes)
    return {
        "out.ids": lambda: quantizer.quantize(latent, layout).target,
        "out.fhat_first": lambda: _accumulated(quantizer, ids, layout, 1),
        "out.fhat_mid": lambda: _accumulated(quantizer, ids, layout, count // 2 + 1),
        "out.fhat_last": lambda: _accumulated(quantizer, ids, layout, count),
        "out.var_input": lambda: _transformer_inputs(quantizer, ids, layout),
        "out.rand_next": lambda: _transformer_inputs(quantizer, drawn, layout),
        "out.rand_fhat": lambda: _accumulated(quantizer, drawn, layout, count),
    }


def _stages_of_autoencoder(record: Record) -> Stages:
    """From the picture to the ids, to pictures of the first scales and of all; the authors clip pixels."""
    tensors, system = record.tensors, record.system
    encoder, decoder, quantizer = system.encoder, system.decoder, system.quantizer
    pixels, ids, drawn = tensors["in.image_u8"] / 127.5 - 1, tensors["out.ids"], tensors["in.rand_ids"]
    layout = system.layout(*pixels.shape[2:])
    count = len(layout.sizes)

    def picture(ids: Tensor, scales: int) -> Tensor:
        return system.decode(ids, layout, _first(ids, layout, scales)).clamp(-1, 1)

    def accumulated(scales: int) -> Callable[[], Tensor]:
        return lambda: _accumulated(quantizer, ids, layout, scales)

    return {
        "out.enc": lambda: encoder.trunk(pixels),
        "out.f": lambda: encoder(pixels, layout),
        "out.ids": lambda: system.encode(pixels, layout).target,
        **{f"out.fhat.{scale}": accumulated(scale + 1) for scale in range(count)},
        "out.post_quant_raw": lambda: decoder(quantizer.lookup(ids, layout), layout),
        "out.recon": lambda: picture(ids, count),
        "out.recon_scale0": lambda: picture(ids, 1),
        "out.recon_mid": lambda: picture(ids, count // 2 + 1),
        "out.var_input": lambda: _transformer_inputs(quantizer, ids, layout),
        "out.rand_fhat": lambda: quantizer.lookup(drawn, layout),
        "out.rand_recon": lambda: picture(drawn, count),
        "out.rand_var_input": lambda: _transformer_inputs(quantizer, drawn, layout),
    }


def _first(ids: Tensor, layout: Layout, scales: int) -> Tensor:
    """Which tokens belong to the first scales."""
    return (torch.arange(layout.count) < sum(layout.counts[:scales])).expand(ids.shape)


def _accumulated(quantizer: Residual, ids: Tensor, layout: Layout, scales: int) -> Tensor:
    return quantizer.lookup(forget(ids, _first(ids, layout, scales), quantizer.space), layout)


def _transformer_inputs(quantizer: Residual, ids: Tensor, layout: Layout) -> Tensor:
    """The transformer's inputs at all scales but the first."""
    canvases = [quantizer.canvas(ids, layout, scale) for scale in range(1, len(layout.sizes))]
    return torch.cat([rearrange(canvas, "b c s t -> b (s t) c") for canvas in canvases], dim=1)


PROOF = Proof(stages)
