"""DALL-E's discrete VAE: 256x256 pixels to 32x32 tokens out of 8192.

Ramesh et al. 2021 (Zero-Shot Text-to-Image Generation); github.com/openai/DALL-E.
"""

import re
from typing import Any

from kiloword.published.page import File, Page, Preparation, Source, Variant
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.dvae import DVAEConfig
from kiloword.tokenizers.gumbel import GumbelConfig

ENCODER, DECODER = 53_786_240, 43_829_766  # parameters


def parts(arguments: dict[str, Any]) -> AutoencoderConfig:
    """Of the arguments of the authors' Encoder and Decoder."""
    encoder, decoder = arguments["encoder_kwargs"], arguments["decoder_kwargs"]
    return AutoencoderConfig(
        _networks(encoder, encoder.get("input_channels", 3)),
        _networks(decoder, decoder.get("output_channels", 3)),
        GumbelConfig(decoder["vocab_size"], decoder["n_init"]),
    )


def _networks(arguments: dict[str, Any], channels: int) -> DVAEConfig:
    return DVAEConfig(arguments["n_hid"], arguments["n_blk_per_group"], arguments.get("group_count", 4), channels)


BLOCK = re.compile(r"(\w+)\.groups\.(\d+)\.(\d+)\.(skip|convs\.(\d+))\.(\w+)")
ENDS = {
    "encoder.enter": "encoder.blocks.input",
    "encoder.leave": "encoder.blocks.output.conv",
    "decoder.leave": "decoder.blocks.output.conv",
}


def source_name(name: str, config: AutoencoderConfig) -> Source:
    """Their decoder begins with a 1x1 convolution over one-hot codes: our quantizer's codebook."""
    if name == "quantizer.codebook":
        return Source(("decoder.blocks.input.w",), transposed=True)
    if name == "quantizer.bias":
        return Source(("decoder.blocks.input.b",))
    if block := BLOCK.fullmatch(name):
        network, group, number, path, layer, kind = block.groups()
        inner = "id_path" if path == "skip" else f"res_path.conv_{int(layer) + 1}"
        return Source((f"{network}.blocks.group_{int(group) + 1}.block_{int(number) + 1}.{inner}.{kind[0]}",))
    layer, _, kind = name.rpartition(".")
    return Source((f"{ENDS[layer]}.{kind[0]}",))


_ARGUMENTS = {
    "encoder_kwargs": {"n_hid": 256, "n_blk_per_group": 2, "input_channels": 3, "vocab_size": 8192},
    "decoder_kwargs": {"n_init": 128, "n_hid": 256, "n_blk_per_group": 2, "output_channels": 3, "vocab_size": 8192},
}
_FILES = tuple(
    File(f"{part}.pkl", url=f"https://cdn.openai.com/dall-e/{part}.pkl", part=part) for part in ("encoder", "decoder")
)

PAGE = Page(
    name="dalle-dvae",
    title="DALL-E's discrete VAE",
    source="openai/DALL-E 5be4b236",
    licence="modified MIT (openai/DALL-E)",
    variants={"8192": Variant(_ARGUMENTS, ENCODER + DECODER, _FILES, "256x256 pixels, a 32x32 grid of 8192 codes")},
    parts=parts,
    source_name=source_name,
    preparation=Preparation(size=256),
)
