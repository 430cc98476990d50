"""VAR: ten grids of codes one after the other, coarse to fine, each drawn at once and fed what those before add up to.

Tian et al. 2024 (Visual Autoregressive Modeling); github.com/FoundationVision/VAR.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from kiloword.engine.card import Card
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.entrance import PositionEntranceConfig
from kiloword.orders.next_scale import NextScaleConfig
from kiloword.parts import ImageModelConfig, ModalityConfig
from kiloword.prompts.class_start import ClassStartConfig
from kiloword.published import var_vae
from kiloword.published.page import Figure, File, Page, Preparation, Source, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.tokens import Categorical
from kiloword.transformer import (
    AdaLNConfig,
    AdaLNOutputConfig,
    AttentionConfig,
    GELUConfig,
    LayerNormConfig,
    SharedAdaLNConfig,
    StackConfig,
    UnitConfig,
)

HEAD_DIM = 64  # a depth of d is d heads and a width of 64 d, unless the arguments say otherwise


def parts(arguments: dict[str, Any]) -> ImageModelConfig:
    """Of the arguments of the authors' `build_vae_var`; without those of the VQVAE's networks, pictures are latents."""
    depth, sides = arguments["depth"], tuple(arguments["patch_nums"])
    width = arguments.get("embed_dim", HEAD_DIM * depth)
    unit = arguments.get("attn_l2_norm", True)
    attention = AttentionConfig(
        arguments.get("num_heads", depth),
        bias=True,
        key_bias=False,
        query_norm=UnitConfig() if unit else None,
        gain=1.0 if unit else 0.25,
    )
    stack = StackConfig(
        width,
        depth,
        attention,
        GELUConfig(round(width * arguments.get("mlp_ratio", 4.0))),
        norm=LayerNormConfig(arguments.get("norm_eps", 1e-6), affine=False),
        modulation=SharedAdaLNConfig() if arguments.get("shared_aln", False) else AdaLNConfig(),
        output_modulation=AdaLNOutputConfig(),
    )
    head = CategoricalConfig(
        Categorical(arguments["V"]),
        width,
        entrance=PositionEntranceConfig(sum(side**2 for side in sides), len(sides)),
        canvas=arguments["Cvae"],
        bias=True,
    )
    picture = ModalityConfig(_tokenizer(arguments), NextScaleConfig(), head)
    return ImageModelConfig(picture, ClassStartConfig(arguments["num_classes"], width), stack)


def _tokenizer(arguments: dict[str, Any]) -> AutoencoderConfig:
    """The VQVAE; of its quantizer alone, one whose pictures are the latents themselves."""
    channels = arguments["Cvae"]
    settings = {"z_channels": channels, "vocab_size": arguments["V"], "v_patch_nums": arguments["patch_nums"]}
    known = ("share_quant_resi", "quant_resi", "using_znorm")
    if "ch" in arguments:
        settings = {**var_vae.PUBLISHED, **settings}
        known = (*known, "ch", "ch_mult", "num_res_blocks", "norm_groups", "quant_conv_ks")
    tokenizer = var_vae.parts(settings | {name: arguments[name] for name in known if name in arguments})
    if isinstance(tokenizer, AutoencoderConfig):
        return tokenizer
    latents = PixelwiseConfig(channels=channels)
    return AutoencoderConfig(latents, latents, tokenizer)


def source_name(name: str, config: ImageModelConfig) -> Source:
    """Shift, scale and gate of a block's two halves are mixed with each other in the authors' matrices."""
    match name.split("."):
        case ["picture", "tokenizer", *rest]:
            assert isinstance(config.picture.tokenizer, AutoencoderConfig)
            return var_vae.source_name(".".join(rest), config.picture.tokenizer)
        case ["picture", "head", *rest]:
            return Source((HEAD[".".join(rest)],))
        case ["prompt", "embedding", "weight"]:
            return Source(("class_emb.weight",))
        case ["transformer", "shared_modulation", "linear", kind]:
            return Source((f"shared_ada_lin.1.{kind}",), changed=partial(reordered, order=HALVES))
        case ["transformer", "output_modulation", "linear", kind]:
            return Source((f"head_nm.ada_lin.1.{kind}",), changed=partial(reordered, order=(1, 0)))
        case ["transformer", "blocks", number, "modulation", "linear", kind]:
            return Source((f"blocks.{number}.ada_lin.1.{kind}",), changed=partial(reordered, order=HALVES))
        case ["transformer", "blocks", number, "modulation", "offset"]:
            return Source((f"blocks.{number}.ada_gss",), changed=lambda offset: offset.flatten(0, 2)[list(HALVES)])
        case ["transformer", "blocks", number, *rest]:
            return Source((f"blocks.{number}.{BLOCK['.'.join(rest)]}",))
    raise KeyError(name)


HEAD = {
    "embedding.weight": "word_embed.weight", "embedding.bias": "word_embed.bias", "entrance.start": "pos_start",
    "entrance.place.weight": "pos_1LC", "entrance.scale.weight": "lvl_embed.weight",
    "output.weight": "head.weight", "output.bias": "head.bias",
}  # fmt: skip
BLOCK = {
    "attention.qkv.weight": "attn.mat_qkv.weight", "attention.query_norm.scale": "attn.scale_mul_1H11",
    "attention.query_bias": "attn.q_bias", "attention.value_bias": "attn.v_bias",
    "attention.out.weight": "attn.proj.weight", "attention.out.bias": "attn.proj.bias",
    "feed_forward.up.weight": "ffn.fc1.weight", "feed_forward.up.bias": "ffn.fc1.bias",
    "feed_forward.out.weight": "ffn.fc2.weight", "feed_forward.out.bias": "ffn.fc2.bias",
}  # fmt: skip
HALVES = (4, 2, 0, 5, 3, 1)  # of the authors' 2 gates, 2 scales, 2 shifts; here: shift, scale, gate and these again


def reordered(matrix: Tensor, order: tuple[int, ...]) -> Tensor:
    """A matrix or bias whose equal parts come in another order."""
    chunks = matrix.chunk(len(order))
    return torch.cat([chunks[number] for number in order])


def canonical(name: str) -> str:
    """A key without the prefix by which recordings mark the file it is from (transformer or VQVAE)."""
    return name.removeprefix("weights.").removeprefix("vae_quantize.")


SMALL, LARGE = var_vae.PAGE.variants["256"].arguments, var_vae.PAGE.variants["512"].arguments
README = "github.com/FoundationVision/VAR, README, ImageNet 50k, guidance 1.5"


def published(depth: int, vae: dict[str, Any], shared: bool = False) -> dict[str, Any]:
    """The arguments of a depth; the VQVAE is the same for all, but for its grids."""
    names = {"V": vae["vocab_size"], "Cvae": vae["z_channels"], "patch_nums": vae["v_patch_nums"]}
    networks = {name: vae[name] for name in ("ch", "ch_mult", "num_res_blocks", "norm_groups", "share_quant_resi")}
    return {
        **names, **networks, "num_classes": 1000, "depth": depth, "shared_aln": shared, "attn_l2_norm": True,
        "mlp_ratio": 4.0,
    }  # fmt: skip


def variant(depth: int, parameters: int, vae: dict[str, Any], shared: bool = False) -> Variant:
    side, count = 16 * vae["v_patch_nums"][-1], sum(side**2 for side in vae["v_patch_nums"])
    files = (File(f"var_d{depth}.pth", "FoundationVision/var"), *var_vae.FILES)
    about = f"{side}x{side} pixels of one of 1000 classes, {count} tokens on ten grids; width {HEAD_DIM * depth}"
    return Variant(published(depth, vae, shared), parameters, files, about)


VARIANTS = {
    "d16": variant(16, 310_283_520, SMALL),
    "d20": variant(20, 600_917_136, SMALL),
    "d24": variant(24, 1_033_399_360, SMALL),
    "d30": variant(30, 2_010_020_356, SMALL),
    "d36": variant(36, 2_353_893_904, LARGE, shared=True),
}


def card(name: str) -> Card:
    """As the authors draw the pictures that they measure; their demonstration guides by 1 + 4."""
    side = 16 * VARIANTS[name].arguments["patch_nums"][-1]
    return Card(
        f"VAR-{name}", ((side, side),), guidance=2.5, top_k=900, top_p=0.96, course="ramp", prompts="class",
        classes="imagenet", licence=LICENCE, about=VARIANTS[name].about,
    )  # fmt: skip


LICENCE = "MIT (FoundationVision/VAR)"

PAGE = Page(
    name="var",
    title="VAR",
    source="FoundationVision/VAR 78b95394",
    licence=LICENCE,
    variants=VARIANTS,
    parts=parts,
    source_name=source_name,
    ignored=(r"lvl_1L", r"attn_bias_for_masking", r"blocks\.\d+\.attn\.zero_k_bias", *var_vae.PAGE.ignored),
    canonical=canonical,
    preparation=Preparation(size=256, enlarge=1.125),
    reported=(
        Figure("FID of d16, 256x256", 3.55, README),
        Figure("FID of d20, 256x256", 2.95, README),
        Figure("FID of d24, 256x256", 2.33, README),
        Figure("FID of d30, 256x256", 1.97, README),
        Figure("FID of d30, 256x256, the best by a classifier", 1.80, README),
        Figure("FID of d36, 512x512", 2.63, README),
    ),
    card=card,
)
