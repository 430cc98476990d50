"""Chameleon's VQGAN, which Liquid uses too: 512x512 pixels to 32x32 tokens out of 8192.

Chameleon Team 2024 (Mixed-Modal Early-Fusion Foundation Models), Wu et al. 2024 (Liquid), after Esser et al. 2021
(taming transformers); github.com/facebookresearch/chameleon.
"""

from typing import Any

from kiloword.published import ldm
from kiloword.published.page import File, Page, Preparation, Source, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.vq import VQConfig


def parts(arguments: dict[str, Any]) -> AutoencoderConfig:
    """Which levels have attention is said in pixels a side of a picture of `resolution`: of these the encoder halves
    what is left, and the decoder doubles what it began with."""
    inner = arguments["ddconfig"]
    last = len(inner["ch_mult"]) - 1
    halved = [inner["resolution"] // 2**i for i in range(last + 1)]
    doubled = [halved[last] * 2 ** (last - i) for i in range(last + 1)]

    def network(sides: list[int], channels: int) -> CNNConfig:
        return CNNConfig(
            width=inner["ch"],
            multipliers=tuple(inner["ch_mult"]),
            blocks=inner["num_res_blocks"],
            attention=tuple(i for i, side in enumerate(sides) if side in inner["attn_resolutions"]),
            groups=(inner.get("norm_groups", 32),),
            z=inner["z_channels"],
            channels=channels,
        )

    encoder, decoder = network(halved, inner["in_channels"]), network(doubled, inner["out_ch"])
    return AutoencoderConfig(encoder, decoder, VQConfig(arguments["n_embed"], arguments["embed_dim"], normalised=False))


def source_name(name: str, config: AutoencoderConfig) -> Source:
    return Source(("quantize.embedding.weight",)) if name == "quantizer.codebook" else ldm.source_name(name, config)


NETWORKS = {
    "ch": 128, "ch_mult": (1, 1, 2, 2, 4), "num_res_blocks": 2, "z_channels": 256, "in_channels": 3, "out_ch": 3,
    "resolution": 512, "attn_resolutions": (),
}  # fmt: skip
ADDRESS = "https://huggingface.co/spaces/Junfeng5/Liquid_demo/resolve/main/chameleon/vqgan.ckpt"

PAGE = Page(
    name="chameleon-vqgan",
    title="Chameleon's VQGAN",
    source="FoundationVision/Liquid 4609c476; facebookresearch/chameleon",
    licence="Chameleon Research License (Meta; no commercial use)",
    variants={
        "8192": Variant(
            {"ddconfig": NETWORKS, "n_embed": 8192, "embed_dim": 256},
            68_718_467,
            (File("vqgan.ckpt", url=ADDRESS, under=("state_dict",)),),
            "a token covers 16x16 pixels; the tokenizer of Chameleon, Anole, Lumina-mGPT and Liquid",
        ),
    },
    parts=parts,
    source_name=source_name,
    ignored=(r"loss\..*",),
    preparation=Preparation(size=512),
)
