"""Reconstruction: how much of a picture the tokenizer keeps, in all its code groups and in the first half of them.

Peak signal-to-noise ratio on white; nested groups of codes after Rippel et al. 2014 (nested dropout).
"""

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kiloword.evaluation.session import Session
from kiloword.pixels import from_bytes, psnr
from kiloword.tokenizers.autoencoder import Autoencoder
from kiloword.tokenizers.pyramid import Pyramid
from kiloword.tokens import Layout

# Axes: p pictures, H W pixels, g numbers of groups.


def reconstruction(session: Session, pixels: UInt8[Tensor, "p 4 H W"]) -> dict[str, Any]:
    """Mean PSNR of pictures in dB, and the bits of the finest grid; `psnr_N_bits` with the first half of the groups.

    `bits_with_drafts` counts the tokens of all grids, which is what the transformer has to say.
    """
    tokenizer, layout = session.painter.model.picture.tokenizer, session.layout
    inner = tokenizer.tokenizer if isinstance(tokenizer, Pyramid) else tokenizer
    fine = Layout((layout.sizes[-1],), layout.frame)
    bits = tokenizer.space.bits
    if not len(pixels):
        return {"n": 0}
    figures: dict[str, Any] = {"n": len(pixels), "bits": fine.count * bits, "bits_with_drafts": layout.count * bits}
    if not isinstance(inner, Autoencoder):
        rebuilt = session.rebuilt(pixels)
        return figures | {"psnr": float(psnr(from_bytes(rebuilt), from_bytes(pixels)).mean())}
    groups = inner.groups
    kept = sorted({max(1, groups // 2), groups})
    parts = session.chunks("pictures rebuilt", len(pixels))
    values = torch.cat([_by_groups(inner, fine, kept, pixels[part]) for part in parts], dim=1).mean(1).tolist()
    figures["psnr"] = values[-1]
    for count, value in zip(kept[:-1], values, strict=False):
        figures[f"psnr_{round(fine.count * bits * count / groups)}_bits"] = value
    return figures


@torch.no_grad()
def _by_groups(
    inner: Autoencoder, layout: Layout, kept: list[int], pixels: UInt8[Tensor, "p 4 H W"]
) -> Float[Tensor, "g p"]:
    true = from_bytes(pixels).to(next(inner.parameters()).device)
    latent = inner.encode(true, layout).latent
    known = torch.ones(len(true), layout.count, dtype=torch.bool, device=true.device)
    found = []
    for groups in kept:
        first = inner.keep_groups(latent, torch.full((len(true),), groups, device=true.device))
        found.append(psnr(inner.render(first, layout, known), true).cpu())
    return torch.stack(found)
