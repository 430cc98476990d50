"""Recipes of generators to be compared: six systems, each with as many blocks of one width, on the same icons.

LlamaGen (Sun et al. 2024), UniTok's LlamaGen (Ma et al. 2025), VAR (Tian et al. 2024), Infinity (Han et al. 2024), MAR
(Li et al. 2024) and Transfusion (Zhou et al. 2024). What the tokenizers share is in `tokenizers.py`, what the heads
are made of in `families.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kiloword.heads.multicode_head import MulticodeHeadConfig
from kiloword.heads.velocity import VelocityConfig
from kiloword.orders.denoise import DenoiseConfig
from kiloword.orders.masked import MaskedConfig
from kiloword.orders.next_scale import NextScaleConfig
from kiloword.orders.raster import RasterConfig
from kiloword.parts import ImageModelConfig, ModalityConfig
from kiloword.prompts.text_prefix import TextPrefixConfig
from kiloword.recipes.families import (
    GRID,
    bits,
    categorical,
    drawn_from_noise,
    halves,
    llama,
    on_canvas,
    small,
    with_flips,
)
from kiloword.recipes.tokenizers import put_together, vit
from kiloword.tokenizers.bpe import BPEConfig
from kiloword.tokens import Codes, Vector

STEPS = 25  # of denoising, each a pass over all tokens


@dataclass(frozen=True)
class System:
    """A way of drawing: the quantizer of its tokenizer, its order, and head and blocks of some width and depth."""

    parts: str
    sort: str
    order: Any
    head: Callable[[int], Any]
    blocks: Callable[[int, int], Any] = llama


def many_codes(width: int) -> MulticodeHeadConfig:
    """Four codes a token, one after the other, by one block."""
    return MulticodeHeadConfig(Codes((1024,) * 4), width, small(width, 1), positions=GRID)


def less_one(width: int, depth: int) -> Any:
    """The blocks of a system that has one more in its head."""
    return llama(width, max(1, depth - 1))


SYSTEMS = {
    "vq-raster": System(
        "vq x raster x categorical", "vq", RasterConfig(), lambda width: categorical(1024, width, positions=GRID)
    ),
    "multicode-raster": System(
        "multicode x raster x multicode", "multicode", RasterConfig(), many_codes, less_one,
    ),
    "residual-scales": System(
        "residual x next_scale x categorical", "residual", NextScaleConfig(), on_canvas,
    ),
    "bits-scales": System(
        "bsq x next_scale x bitwise", "bsq-scales", NextScaleConfig(), bits,
    ),
    "kl-masked": System(
        "kl x masked x diffusion", "kl", MaskedConfig(16), drawn_from_noise, halves,
    ),
    "kl-denoise": System(
        "kl x denoise x velocity", "kl", DenoiseConfig(STEPS), lambda width: VelocityConfig(Vector(16), width),
    ),
}  # fmt: skip


def generator(name: str, width: int, depth: int) -> ImageModelConfig:
    """The parts of a system; the text has no merges yet. Raises ValueError for sizes that cannot be divided."""
    if width < 64 or width % 64 or depth < 2 or depth % 2:
        raise ValueError(f"the width is a multiple of 64 and the depth of 2, got {width} and {depth}")
    system = SYSTEMS[name]
    return ImageModelConfig(
        ModalityConfig(with_flips(put_together(system.sort, vit())), system.order, system.head(width)),
        TextPrefixConfig(BPEConfig(), width, dropout=0.1),
        system.blocks(width, depth),
    )
