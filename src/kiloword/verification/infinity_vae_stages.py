"""Recorded stages of Infinity's tokenizers, recomputed here: encoding and decoding on the grids that were recorded.

Han et al. 2024 (Infinity: Scaling Bitwise AutoRegressive Modeling); github.com/FoundationVision/Infinity.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from kiloword.tokenizers.quantizer import forget
from kiloword.tokens import Layout
from kiloword.verification.proof import Proof, Record, Stages


def stages(record: Record) -> Stages:
    """Encoding and decoding on the recorded grids; `next_input_area` is the next input of the authors' transformer."""
    tensors, system = record.tensors, record.system
    pixels, quantizer = tensors["image"], system.quantizer
    layout = Layout(tuple((rows, columns) for _, rows, columns in record.settings["settings"]["scale_schedule"]))
    bits = torch.cat([tensors[f"bits_{scale}"].flatten(1, 3) for scale in range(len(layout.sizes))], dim=1).long()

    def found(scale: int) -> Callable[[], Tensor]:
        rows = layout.sizes[scale][0]
        return lambda: rearrange(
            system.encode(pixels, layout).target[:, layout.part(scale)], "b (s t) c -> b 1 s t c", s=rows
        )

    def fed(scale: int) -> Callable[[], Tensor]:
        known = (torch.arange(layout.count) < sum(layout.counts[:scale])).expand(bits.shape[:2])
        before = forget(bits, known, system.space)
        return lambda: interpolate(quantizer.lookup(before, layout), layout.sizes[scale], mode="area").unsqueeze(2)

    def decoded() -> Tensor:
        return system.decode(bits, layout, torch.ones(bits.shape[:2], dtype=torch.bool))

    return {
        "encoder_out": lambda: system.encoder(pixels, layout),
        **{f"bits_{scale}": found(scale) for scale in range(len(layout.sizes))},
        "quantized": lambda: system.encode(pixels, layout).latent,
        **{f"next_input_area_{scale - 1}": fed(scale) for scale in range(1, len(layout.sizes))},
        "recon": lambda: decoded().clamp(-1, 1),
        "decoder_raw_mean_per_channel": lambda: decoded().mean(dim=(2, 3)),
    }


PROOF = Proof(stages)
