"""VAR's tokenizer: 256x256 pixels to ten grids of codes, 1x1 to 16x16; 512x512 pixels to grids up to 32x32.

Tian et al. 2024 (Visual Autoregressive Modeling); github.com/FoundationVision/VAR.
"""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from kiloword.published import ldm
from kiloword.published.page import File, From, Page, Preparation, Record, Stages, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.cnn import CNNConfig
from kiloword.tokenizers.quantizer import forget
from kiloword.tokenizers.residual import Residual, ResidualConfig
from kiloword.tokenizers.vq import VQConfig
from kiloword.tokens import Layout

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


def theirs(name: str, config: AutoencoderConfig | ResidualConfig) -> From:
    """The phis' name says how many there are: one, one a scale, or some that are shared."""
    quantizer = config.quantizer if isinstance(config, AutoencoderConfig) else config
    assert isinstance(quantizer, ResidualConfig)
    match name.removeprefix("quantizer.").split("."):
        case ["codebook", "codebook"]:
            return From(("quantize.embedding.weight",))
        case ["phis", number, kind]:
            phi = {0: number, 1: "qresi"}.get(quantizer.phis, f"qresi_ls.{number}")
            return From((f"quantize.quant_resi.{phi}.{kind}",))
    assert isinstance(config, AutoencoderConfig)
    return ldm.theirs(name, config, DIALECT)


def stages(record: Record) -> Stages:
    alone = isinstance(record.system, Residual)
    return _stages_of_quantizer(record) if alone else _stages_of_autoencoder(record)


def _stages_of_quantizer(record: Record) -> Stages:
    """There, and from ids what they have painted and what the transformer sees of it."""
    tensors, quantizer = record.tensors, record.system
    latent, ids, drawn = tensors["in.f"], tensors["out.ids"], tensors["in.rand_ids"]
    layout = Layout(quantizer.grids(*latent.shape[2:]))
    count = len(layout.sizes)
    return {
        "out.ids": lambda: quantizer.quantize(latent, layout).target,
        "out.fhat_first": lambda: _painted(quantizer, ids, layout, 1),
        "out.fhat_mid": lambda: _painted(quantizer, ids, layout, count // 2 + 1),
        "out.fhat_last": lambda: _painted(quantizer, ids, layout, count),
        "out.var_input": lambda: _canvases(quantizer, ids, layout),
        "out.rand_next": lambda: _canvases(quantizer, drawn, layout),
        "out.rand_fhat": lambda: _painted(quantizer, drawn, layout, count),
    }


def _stages_of_autoencoder(record: Record) -> Stages:
    """From the picture to the ids, and from them to pictures of the first scales and of all; authors cut pixels off."""
    tensors, system = record.tensors, record.system
    encoder, decoder, quantizer = system.encoder, system.decoder, system.quantizer
    pixels, ids, drawn = tensors["in.image_u8"] / 127.5 - 1, tensors["out.ids"], tensors["in.rand_ids"]
    layout = system.layout(*pixels.shape[2:])
    count = len(layout.sizes)

    def picture(ids: Tensor, scales: int) -> Tensor:
        return system.decode(ids, layout, _first(ids, layout, scales)).clamp(-1, 1)

    def painted(scales: int) -> Callable[[], Tensor]:
        return lambda: _painted(quantizer, ids, layout, scales)

    return {
        "out.enc": lambda: encoder.trunk(pixels),
        "out.f": lambda: encoder(pixels, layout),
        "out.ids": lambda: system.encode(pixels, layout).target,
        **{f"out.fhat.{scale}": painted(scale + 1) for scale in range(count)},
        "out.post_quant_raw": lambda: decoder(quantizer.lookup(ids, layout), layout),
        "out.recon": lambda: picture(ids, count),
        "out.recon_scale0": lambda: picture(ids, 1),
        "out.recon_mid": lambda: picture(ids, count // 2 + 1),
        "out.var_input": lambda: _canvases(quantizer, ids, layout),
        "out.rand_fhat": lambda: quantizer.lookup(drawn, layout),
        "out.rand_recon": lambda: picture(drawn, count),
        "out.rand_var_input": lambda: _canvases(quantizer, drawn, layout),
    }


def _first(ids: Tensor, layout: Layout, scales: int) -> Tensor:
    """Which tokens belong to the first scales."""
    return (torch.arange(layout.count) < sum(layout.counts[:scales])).expand(ids.shape)


def _painted(quantizer: Residual, ids: Tensor, layout: Layout, scales: int) -> Tensor:
    return quantizer.lookup(forget(ids, _first(ids, layout, scales), quantizer.space), layout)


def _canvases(quantizer: Residual, ids: Tensor, layout: Layout) -> Tensor:
    """What a transformer sees of all scales but the first."""
    canvases = [quantizer.canvas(ids, layout, scale) for scale in range(1, len(layout.sizes))]
    return torch.cat([rearrange(canvas, "b c s t -> b (s t) c") for canvas in canvases], dim=1)


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
    theirs=theirs,
    stages=stages,
    ignored=(r"quantize\.ema_vocab_hit_SV",),
    preparation=Preparation(size=256, enlarge=1.125),
)
