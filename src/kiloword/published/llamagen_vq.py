"""LlamaGen's tokenizers: pixels to short codes of length 1, one to 16x16 (VQ-16) or 8x8 pixels (VQ-8).

Sun et al. 2024 (Autoregressive Model Beats Diffusion); github.com/FoundationVision/LlamaGen.
"""

from typing import Any

from kiloword.published import ldm
from kiloword.published.page import Figure, File, Page, Preparation, Source, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.vq import VQConfig

DIALECT = ldm.Dialect(
    encoder_level="conv_blocks", decoder_level="conv_blocks", block="res", middle=("0", "1", "2"), coarse_first=True
)


def parts(arguments: dict[str, Any]) -> AutoencoderConfig:
    """Attention is in the coarsest level, whatever the picture's size."""
    network = CNNConfig(
        width=arguments["ch"],
        multipliers=tuple(arguments["ch_mult"]),
        blocks=arguments["num_res_blocks"],
        attention=(len(arguments["ch_mult"]) - 1,),
        groups=(arguments.get("norm_groups", 32),),
        z=arguments["z_channels"],
    )
    quantizer = VQConfig(arguments["codebook_size"], arguments["codebook_embed_dim"], arguments["l2_norm"])
    return AutoencoderConfig(network, network, quantizer)


def source_name(name: str, config: AutoencoderConfig) -> Source:
    if name == "quantizer.codebook":
        return Source(("quantize.embedding.weight",))
    return ldm.source_name(name, config, DIALECT)


VQ16 = {
    "ch": 128, "ch_mult": (1, 1, 2, 2, 4), "num_res_blocks": 2, "z_channels": 256, "norm_groups": 32,
    "codebook_size": 16384, "codebook_embed_dim": 8, "l2_norm": True,
}  # fmt: skip
VQ8 = {**VQ16, "ch_mult": (1, 2, 2, 4)}
README = "github.com/FoundationVision/LlamaGen, README, ImageNet 256x256"

PAGE = Page(
    name="llamagen-vq",
    title="LlamaGen's VQ",
    source="FoundationVision/LlamaGen ce98ec41",
    licence="MIT (FoundationVision/LlamaGen)",
    variants={
        "16": Variant(
            VQ16,
            71_883_403,
            (File("vq_ds16_c2i.pt", "FoundationVision/LlamaGen", under=("model",)),),
            "a token covers 16x16 pixels; ImageNet",
        ),
        "8": Variant(
            VQ8,
            70_109_835,
            (File("vq_ds8_c2i.pt", "FoundationVision/LlamaGen", under=("model",)),),
            "a token covers 8x8 pixels; ImageNet",
        ),
        "16-t2i": Variant(
            VQ16,
            71_883_403,
            (File("vq_ds16_t2i.pt", "peizesun/llamagen_t2i", under=("model",)),),
            "a token covers 16x16 pixels; LAION-COCO and pictures of the authors",
        ),
    },
    parts=parts,
    source_name=source_name,
    ignored=(r"quantize\.codebook_used",),
    preparation=Preparation(size=256, filter="BICUBIC"),
    reported=(
        Figure("rFID of 16, 16x16 tokens", 2.19, README),
        Figure("rFID of 16, 24x24 tokens", 0.94, README),
        Figure("rFID of 16, 32x32 tokens", 0.70, README),
        Figure("rFID of 8, 32x32 tokens", 0.59, README),
    ),
)
