"""VAR's tokenizer: 256x256 pixels to ten grids of codes, 1x1 to 16x16; 512x512 pixels to grids up to 32x32.

Tian et al. 2024 (Visual Autoregressive Modeling); github.com/FoundationVision/VAR.
"""

from typing import Any

from kiloword.published import ldm
from kiloword.published.page import File, Page, Preparation, Source, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.residual import ResidualConfig
from kiloword.tokenizers.vq import VQConfig

DIALECT = ldm.Dialect(fused=True)


def parts(arguments: dict[str, Any]) -> AutoencoderConfig | ResidualConfig:
    """Of the arguments of the authors' VQVAE; of those of its quantizer alone, the quantizer."""
    channels, mix = arguments["z_channels"], abs(arguments.get("quant_resi", 0.5))
    quantizer = ResidualConfig(
        VQConfig(arguments["vocab_size"], channels, normalised=False),
        scales=tuple(arguments["v_patch_nums"]),
        phis=arguments.get("share_quant_resi", 4),
        mix=mix if mix > 1e-6 else 0.0,
        by_angle=arguments.get("using_znorm", False),
    )
    if "ch" not in arguments:
        return quantizer
    network = CNNConfig(
        width=arguments["ch"],
        multipliers=tuple(arguments["ch_mult"]),
        blocks=arguments["num_res_blocks"],
        attention=(len(arguments["ch_mult"]) - 1,),
        groups=(arguments.get("norm_groups", 32),),
        z=channels,
        bridge=arguments.get("quant_conv_ks", 3),
    )
    return AutoencoderConfig(network, network, quantizer)


def source_name(name: str, config: AutoencoderConfig | ResidualConfig) -> Source:
    """The phis' name says how many there are: one, one a scale, or some that are shared."""
    quantizer = config.quantizer if isinstance(config, AutoencoderConfig) else config
    assert isinstance(quantizer, ResidualConfig)
    match name.removeprefix("quantizer.").split("."):
        case ["codebook", "codebook"]:
            return Source(("quantize.embedding.weight",))
        case ["phis", number, kind]:
            phi = {0: number, 1: "qresi"}.get(quantizer.phis, f"qresi_ls.{number}")
            return Source((f"quantize.quant_resi.{phi}.{kind}",))
    assert isinstance(config, AutoencoderConfig)
    return ldm.source_name(name, config, DIALECT)


PUBLISHED = {
    "ch": 160, "ch_mult": (1, 1, 2, 2, 4), "num_res_blocks": 2, "norm_groups": 32, "z_channels": 32,
    "vocab_size": 4096, "share_quant_resi": 4,
}  # fmt: skip
FILES = (File("vae_ch160v4096z32.pth", "FoundationVision/var"),)

PAGE = Page(
    name="var-vae",
    title="VAR's VQVAE",
    source="FoundationVision/VAR 78b95394",
    licence="MIT (FoundationVision/VAR)",
    variants={
        "256": Variant(
            {**PUBLISHED, "v_patch_nums": (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)},
            108_948_355,
            FILES,
            "256x256 pixels, 680 tokens on ten grids up to 16x16",
        ),
        "512": Variant(
            {**PUBLISHED, "v_patch_nums": (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)},
            108_948_355,
            FILES,
            "512x512 pixels, 2240 tokens on ten grids up to 32x32; the same weights",
        ),
    },
    parts=parts,
    source_name=source_name,
    ignored=(r"quantize\.ema_vocab_hit_SV",),
    preparation=Preparation(size=256, enlarge=1.125),
)
