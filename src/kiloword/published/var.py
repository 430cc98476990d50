"""VAR: ten grids of codes one after the other, coarse to fine, each drawn at once and fed what those before painted.

Tian et al. 2024 (Visual Autoregressive Modeling); github.com/FoundationVision/VAR.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.engine.decode import draw
from kiloword.engine.guidance import GuidanceConfig
from kiloword.engine.painter import Card
from kiloword.heads.categorical import CategoricalConfig, CategoricalHead
from kiloword.heads.entrance import SeatedEntranceConfig
from kiloword.heads.head import Sampling, Soft, keep, weigh
from kiloword.model import Drawing, ImageModel, Progress
from kiloword.noise import Noise, Seeded
from kiloword.orders.next_scale import NextScaleConfig
from kiloword.parts import ImageModelConfig, ModalityConfig
from kiloword.prompts.class_start import ClassStartConfig
from kiloword.published import var_vae
from kiloword.published.listen import heard
from kiloword.published.page import Figure, File, From, Page, Preparation, Record, Stages, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.pixelwise import PixelwiseConfig
from kiloword.tokens import Categorical, Layout
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

# Axes: b pictures, n tokens of all grids, k codes, c channels of a picture.

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
        entrance=SeatedEntranceConfig(sum(side**2 for side in sides), len(sides)),
        canvas=arguments["Cvae"],
        bias=True,
    )
    picture = ModalityConfig(_tokenizer(arguments), NextScaleConfig(), head)
    return ImageModelConfig(picture, ClassStartConfig(arguments["num_classes"], width), stack)


def _tokenizer(arguments: dict[str, Any]) -> AutoencoderConfig:
    """The VQVAE; of its quantizer alone, one whose pictures are the latents themselves."""
    channels = arguments["Cvae"]
    asked = {"z_channels": channels, "vocab_size": arguments["V"], "v_patch_nums": arguments["patch_nums"]}
    known = ("share_quant_resi", "quant_resi", "using_znorm")
    if "ch" in arguments:
        asked = {**var_vae.PUBLISHED, **asked}
        known = (*known, "ch", "ch_mult", "num_res_blocks", "norm_groups", "quant_conv_ks")
    tokenizer = var_vae.parts(asked | {name: arguments[name] for name in known if name in arguments})
    if isinstance(tokenizer, AutoencoderConfig):
        return tokenizer
    latents = PixelwiseConfig(channels=channels)
    return AutoencoderConfig(latents, latents, tokenizer)


def theirs(name: str, config: ImageModelConfig) -> From:
    """Shift, scale and gate of a block's two halves are mixed with each other in the authors' matrices."""
    match name.split("."):
        case ["picture", "tokenizer", *rest]:
            assert isinstance(config.picture.tokenizer, AutoencoderConfig)
            return var_vae.theirs(".".join(rest), config.picture.tokenizer)
        case ["picture", "head", *rest]:
            return From((HEAD[".".join(rest)],))
        case ["prompt", "embedding", "weight"]:
            return From(("class_emb.weight",))
        case ["transformer", "shared_modulation", "linear", kind]:
            return From((f"shared_ada_lin.1.{kind}",), changed=partial(reordered, order=HALVES))
        case ["transformer", "output_modulation", "linear", kind]:
            return From((f"head_nm.ada_lin.1.{kind}",), changed=partial(reordered, order=(1, 0)))
        case ["transformer", "blocks", number, "modulation", "linear", kind]:
            return From((f"blocks.{number}.ada_lin.1.{kind}",), changed=partial(reordered, order=HALVES))
        case ["transformer", "blocks", number, "modulation", "offset"]:
            return From((f"blocks.{number}.ada_gss",), changed=lambda offset: offset.flatten(0, 2)[list(HALVES)])
        case ["transformer", "blocks", number, *rest]:
            return From((f"blocks.{number}.{BLOCK['.'.join(rest)]}",))
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
HALVES = (4, 2, 0, 5, 3, 1)  # of their gates, scales and shifts, two each, ours: shift, scale, gate and the same again


def reordered(rows: Tensor, order: tuple[int, ...]) -> Tensor:
    """A matrix or bias whose equal parts come in another order."""
    chunks = rows.chunk(len(order))
    return torch.cat([chunks[number] for number in order])


def spelled(name: str) -> str:
    """Recordings say of each weight in which of the two files it lies."""
    return name.removeprefix("weights.").removeprefix("vae_quantize.")


class Flat:
    """Uniform numbers that were drawn for all pictures together, grid by grid: one after the other in a row."""

    def __init__(self, numbers: Float[Tensor, " numbers"]):
        self.numbers, self.used = numbers, 0

    def uniform(self, shape: tuple[int, ...], rows: Int[Tensor, "b"]) -> Tensor:
        taken = self.numbers[self.used : self.used + len(rows) * prod(shape)]
        self.used += taken.numel()
        return taken.view(len(rows), *shape)

    def normal(self, shape: tuple[int, ...], rows: Int[Tensor, "b"]) -> Tensor:
        raise ValueError("these are uniform numbers, and normal ones were asked for")


def smooth(sampling: Sampling, steps: int) -> tuple[Sampling, ...]:
    """The authors' "more smooth" way: distributions in place of ids, sharper from grid to grid. For looks only."""
    ratios = [step / max(1, steps - 1) for step in range(steps)]
    return tuple(replace(sampling, soft=Soft(max(0.27 * (1 - 0.95 * r), 0.005), 1 + r)) for r in ratios)


@dataclass(frozen=True)
class Drawn:
    """What came of a drawing: tokens, the picture that they are, logits on the way and what was kept of these."""

    tokens: Tensor
    picture: Float[Tensor, "b c H W"]
    logits: Float[Tensor, "b n k"]
    kept: Float[Tensor, "b n k"]


def drawn(
    model: ImageModel, layout: Layout, labels: list[int], cfg: float, sampling: Sampling | tuple[Sampling, ...],
    noise: Noise, way: Callable[..., Iterator[Progress]] = draw,
) -> Drawn:  # fmt: skip
    """Pictures of classes in the authors' way: guidance of 1 + `cfg` in the end, in equal steps up to there."""
    head, condition = model.picture.head, model.prompt.read(labels)
    assert isinstance(head, CategoricalHead)
    schedule = model.picture.order.schedule(layout, len(labels), None, noise)
    weights = GuidanceConfig("ramp").weights(1 + cfg, schedule)
    request = Drawing(layout, [condition, model.prompt.null(condition)], weights, sampling)
    steps: list[Progress] = []
    _, answers = heard(head.output, lambda: steps.extend(way(model, request, noise)))
    logits = [weigh(answer, request.weights_at(step)) for step, answer in enumerate(answers)]
    kept = [keep(logit, request.sampling_at(step)) for step, logit in enumerate(logits)]
    picture = model.picture.tokenizer.decode(steps[-1].tokens, layout, steps[-1].known)
    return Drawn(steps[-1].tokens, picture, torch.cat(logits, 1), torch.cat(kept, 1))


def stages(record: Record) -> Stages:
    """Teacher-forced; the likeliest ids without and with guidance; by recorded chance; and the smooth way."""
    model, tensors, sides = record.system, record.tensors, record.arguments["patch_nums"]
    head, tokenizer = model.picture.head, model.picture.tokenizer
    layout = tokenizer.layout(*[sides[-1] * tokenizer.stride] * 2)
    labels, ids, cfg = tensors["in.labels"].tolist(), tensors["in.ids"], float(tensors["in.cfg"])
    chance = Sampling(top_k=int(tensors["in.top_k"]), top_p=float(tensors["in.top_p"]) or 1.0)  # their 0 is off
    softly = (-(-tensors["in.gumbel"].double()).exp()).exp()  # the uniform numbers that this Gumbel noise is made of

    def forced(asked: list) -> Callable[[], object]:
        return lambda: model.loss(asked, ids, ids, layout)

    def made(way: str) -> Drawn:
        match way:
            case "greedy0":
                return drawn(model, layout, labels, 0.0, Sampling(temperature=0), Seeded([0] * len(labels)))
            case "greedy_cfg":
                return drawn(model, layout, labels, cfg, Sampling(temperature=0), Seeded([0] * len(labels)))
            case "samp":
                return drawn(model, layout, labels, cfg, chance, Flat(tensors["in.uniforms"]))
        return drawn(model, layout, labels, cfg, smooth(chance, len(sides)), Flat(softly))

    table: dict[str, Callable[[], Tensor]] = {
        "out.tf_input": lambda: heard(head.embedding, forced(labels))[0][0][:, layout.counts[0] :],
        "out.tf_logits": lambda: heard(head.output, forced(labels))[1][0],
        "out.tf_logits_uncond": lambda: heard(head.output, forced([None] * len(labels)))[1][0],
        "out.samp_filtered_logits": lambda: made("samp").kept,
    }
    for way in ("greedy0", "greedy_cfg", "samp", "smooth"):
        table[f"out.{way}_logits"] = lambda way=way: made(way).logits
        table[f"out.{way}_fhat01"] = lambda way=way: (made(way).picture + 1) / 2
        if way != "smooth":
            table[f"out.{way}_ids"] = lambda way=way: made(way).tokens
    return table


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
    theirs=theirs,
    stages=stages,
    ignored=(r"lvl_1L", r"attn_bias_for_masking", r"blocks\.\d+\.attn\.zero_k_bias", *var_vae.PAGE.ignored),
    spelled=spelled,
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
