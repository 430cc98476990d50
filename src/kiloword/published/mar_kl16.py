"""MAR's KL-16: 256x256 pixels to 16x16 vectors of 16 numbers.

Li et al. 2024 (Autoregressive Image Generation without Vector Quantization), after Rombach et al. 2022 (latent
diffusion); github.com/LTH14/mar.
"""

from typing import Any

from kiloword.published import ldm
from kiloword.published.page import File, Page, Preparation, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.kl import KLConfig

SCALE = 0.2325  # of the tokens that MAR learns to the latents


def parts(arguments: dict[str, Any]) -> AutoencoderConfig:
    """Which levels of the encoder have attention is said in pixels a side of a picture of `resolution`; the decoder's
    have none."""
    resolution, dim = arguments["resolution"], arguments["embed_dim"]
    multipliers, with_attention = arguments["ch_mult"], arguments["enc_attn_resolutions"]

    def network(z: int, attention: tuple[int, ...]) -> CNNConfig:
        return CNNConfig(
            width=arguments["ch"],
            multipliers=tuple(multipliers),
            blocks=arguments["num_res_blocks"],
            attention=attention,
            groups=(arguments.get("norm_groups", 32),),
            z=z,
        )

    attention = tuple(i for i in range(len(multipliers)) if resolution // 2**i in with_attention)
    return AutoencoderConfig(network(2 * dim, attention), network(dim, ()), KLConfig(dim, SCALE))


KL16 = {
    "ch": 128, "ch_mult": (1, 1, 2, 2, 4), "num_res_blocks": 2, "norm_groups": 32, "embed_dim": 16,
    "resolution": 256, "enc_attn_resolutions": (16,),
}  # fmt: skip
ADDRESS = "https://www.dropbox.com/scl/fi/hhmuvaiacrarfg28qxhwz/kl16.ckpt?rlkey=l44xipsezc8atcffdp4q7mwmh&dl=1"

PAGE = Page(
    name="mar-kl16",
    title="MAR's KL-16",
    source="LTH14/mar fe470ac2",
    licence="MIT (LTH14/mar)",
    variants={
        "16": Variant(
            KL16,
            66_456_019,
            (File("kl16.ckpt", url=ADDRESS, under=("model",)),),
            "a token covers 16x16 pixels; ImageNet",
        ),
    },
    parts=parts,
    source_name=ldm.source_name,
    ignored=(r"loss\..*",),
    preparation=Preparation(size=256, filter="BICUBIC"),
)
