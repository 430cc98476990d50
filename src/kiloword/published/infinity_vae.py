"""Infinity's tokenizers: pixels to bits on up to 13 grids, 16 to 64 bits a token, for pictures of any common shape.

Han et al. 2024 (Infinity: Scaling Bitwise AutoRegressive Modeling); github.com/FoundationVision/Infinity.
"""

import re
from collections.abc import Sequence
from typing import Any

from kiloword.published import ldm
from kiloword.published.page import Figure, File, Page, Preparation, Source, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.bsq_scales import BSQScalesConfig, Grids
from kiloword.tokenizers.cnn import CNNConfig

TALL = (  # rows x columns; wide pictures have the same ones, transposed
    "1x1 2x2 4x4 6x6 8x8 12x12 16x16 20x20 24x24 32x32 40x40 48x48 64x64",
    "1x1 2x2 3x3 5x4 10x8 15x12 20x16 25x20 30x24 35x28 45x36 55x44 70x56",
    "1x1 2x2 4x3 8x6 12x9 16x12 20x15 24x18 28x21 36x27 48x36 60x45 72x54",
    "1x1 2x2 3x2 6x4 9x6 15x10 21x14 27x18 33x22 39x26 48x32 63x42 78x52",
    "1x1 2x2 3x3 7x4 11x6 14x8 21x12 28x16 35x20 42x24 56x32 70x40 84x48",
    "1x1 2x2 4x2 6x3 10x5 16x8 22x11 30x15 38x19 46x23 60x30 74x37 90x45",
    "1x1 2x2 5x2 10x4 15x6 20x8 25x10 30x12 40x16 50x20 65x26 80x32 100x40",
    "1x1 2x2 6x2 9x3 15x5 21x7 27x9 36x12 45x15 54x18 72x24 90x30 111x37",
)


def schedules(times: int = 1) -> tuple[Grids, ...]:
    """All published schedules, with grids so many times as large."""
    sides = [[grid.split("x") for grid in line.split()] for line in TALL]
    tall = [tuple((int(rows) * times, int(columns) * times) for rows, columns in grids) for grids in sides]
    wide = [tuple((columns, rows) for rows, columns in grids) for grids in tall[1:]]
    return (*tall, *wide)


def parts(arguments: dict[str, Any]) -> AutoencoderConfig:
    """No attention, no bridges. Where the transformer takes 2x2 tokens at once, the grids here are twice as large."""
    bits = arguments["codebook_dim"]

    def network(multipliers: Sequence[int]) -> CNNConfig:
        return CNNConfig(
            width=arguments["base_ch"],
            multipliers=tuple(multipliers),
            blocks=arguments["num_res_blocks"],
            middle=0,
            groups=(32, 24),
            downs=arguments["patch_size"].bit_length() - 1,
            z=bits,
            bridge=0,
        )

    quantizer = BSQScalesConfig(bits, schedules(2 if arguments.get("apply_spatial_patchify") else 1))
    return AutoencoderConfig(network(arguments["encoder_ch_mult"]), network(arguments["decoder_ch_mult"]), quantizer)


DIALECT = ldm.Dialect(wrapped=True)
BARE = re.compile(r"(.+\.(?:conv\w+|norm\w+|nin_shortcut|(?:down|up)sample\.conv))\.(weight|bias)")


def source_name(name: str, config: AutoencoderConfig) -> Source:
    return ldm.source_name(name, config, DIALECT)


def canonical(name: str) -> str:
    """A convolution is `conv1` in some files and `conv1.conv` in others, norms alike: the longer name for both."""
    bare = BARE.fullmatch(name)
    if bare is None:
        return name
    module, kind = bare.groups()
    return f"{module}.{'norm' if module.rpartition('.')[2].startswith('norm') else 'conv'}.{kind}"


F16 = {
    "base_ch": 128, "num_res_blocks": 2, "patch_size": 16,
    "encoder_ch_mult": (1, 2, 4, 4, 4), "decoder_ch_mult": (1, 2, 4, 4, 4),
}  # fmt: skip
F8 = {**F16, "patch_size": 8, "encoder_ch_mult": (1, 2, 4, 4), "decoder_ch_mult": (1, 2, 4, 4)}
README = "README of FoundationVision/Infinity"
QUALITY = {  # rFID and PSNR in dB on ImageNet at 256x256, then at 512x512
    "d16": (1.22, 20.9, 0.31, 22.6),
    "d24": (0.75, 22.0, 0.30, 23.5),
    "d32": (0.61, 22.7, 0.23, 24.4),
    "d64": (0.33, 24.9, 0.15, 26.4),
    "d32reg": (0.75, 21.9, 0.32, 23.6),
}
MEASURES = ("rFID, ImageNet 256x256", "PSNR, ImageNet 256x256", "rFID, ImageNet 512x512", "PSNR, ImageNet 512x512")


def variant(name: str, bits: int, parameters: int, about: str, twice: bool = False) -> Variant:
    """`twice`: the transformer takes 2x2 tokens at once."""
    arguments = {**(F8 if twice else F16), "codebook_dim": bits, "apply_spatial_patchify": twice}
    return Variant(
        arguments, parameters, (File(f"infinity_vae_{name}.pth", "FoundationVision/Infinity", under=("vae",)),), about
    )


PAGE = Page(
    name="infinity-vae",
    title="Infinity's BSQ-VAE",
    source="FoundationVision/Infinity 4c27bbb54a99",
    licence="MIT (FoundationVision/Infinity)",
    variants={
        "d32reg": variant("d32reg", 32, 110_118_051, "32 bits a token of 16x16 pixels; that of Infinity-2B"),
        "d16": variant("d16", 16, 109_970_579, "16 bits a token of 16x16 pixels"),
        "d24": variant("d24", 24, 110_044_315, "24 bits a token of 16x16 pixels"),
        "d32": variant("d32", 32, 110_118_051, "32 bits a token of 16x16 pixels"),
        "d64": variant("d64", 64, 110_412_995, "64 bits a token of 16x16 pixels"),
        "d56-f8-d14": variant("d56_f8_14_patchify", 14, 81_624_209, "14 bits a token of 8x8 pixels; Infinity-8B", True),
    },
    parts=parts,
    source_name=source_name,
    ignored=(r"quantizer?\.lfq\.mask",),
    canonical=canonical,
    preparation=Preparation(size=256),
    reported=tuple(
        Figure(f"{measure}, {name}", value, README)
        for name, values in QUALITY.items()
        for measure, value in zip(MEASURES, values, strict=True)
    ),
)
