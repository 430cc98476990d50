"""The names that convolutional autoencoders have in their authors' files: taming-transformers and its descendants.

Esser et al. 2021 (taming transformers), Rombach et al. 2022 (latent diffusion). Our names are those of
`tokenizers/cnn.py`; `source_name` gives the source of a parameter in the naming scheme (`Dialect`) of the authors.
"""

from dataclasses import dataclass

from kiloword.published.page import Source
from kiloword.tokenizers.autoencoder import AutoencoderConfig
from kiloword.tokenizers.cnn import CNNConfig


@dataclass(frozen=True)
class Dialect:
    """In which words some authors differ from the others."""

    encoder_level: str = "down"
    decoder_level: str = "up"
    block: str = "block"
    middle: tuple[str, str, str] = ("block_1", "attn_1", "block_2")
    coarse_first: bool = False  # decoder levels numbered as they are run; else from the pixels on
    fused: bool = False  # query, key and value in one convolution
    wrapped: bool = False  # every convolution and norm inside a module: conv1.conv.weight, norm1.norm.weight


LDM = Dialect()

_BRIDGES = {"encoder": "quant_conv", "decoder": "post_quant_conv"}
_RESAMPLES = {"encoder": "downsample.conv", "decoder": "upsample.conv"}
_LAYERS = {"enter": "conv_in", "norm": "norm_out", "leave": "conv_out"}
_IN_BLOCK = {"shortcut": "nin_shortcut"}


def source_name(name: str, config: AutoencoderConfig, dialect: Dialect = LDM) -> Source:
    """Where a weight of our encoder or decoder comes from."""
    network, *path, kind = name.split(".")
    assert network in _BRIDGES, f"{name} is not a weight of a network"
    if path == ["bridge"]:
        modules = [_BRIDGES[network]]
    else:
        modules = [f"{network}.{module}" for module in _modules(network, path, config, dialect)]
    if dialect.wrapped:
        modules = [f"{module}.{'norm' if 'norm' in module.split('.')[-1] else 'conv'}" for module in modules]
    return Source(tuple(f"{module}.{kind}" for module in modules))


def _modules(network: str, path: list[str], config: AutoencoderConfig, dialect: Dialect) -> list[str]:
    """The authors' modules that make up a layer here."""
    match path:
        case ["middle", "blocks", i, layer]:
            return [f"mid.{dialect.middle[2 * int(i)]}.{_IN_BLOCK.get(layer, layer)}"]
        case ["middle", "attentions", "0", layer]:
            return [f"mid.{dialect.middle[1]}.{part}" for part in _attention(layer, dialect)]
        case ["levels", level, "resample", "conv"]:
            return [f"{_level(network, int(level), config, dialect)}.{_RESAMPLES[network]}"]
        case ["levels", level, "blocks", i, layer]:
            prefix = _level(network, int(level), config, dialect)
            return [f"{prefix}.{dialect.block}.{i}.{_IN_BLOCK.get(layer, layer)}"]
        case ["levels", level, "attentions", i, layer]:
            prefix = _level(network, int(level), config, dialect)
            return [f"{prefix}.attn.{i}.{part}" for part in _attention(layer, dialect)]
        case [layer]:
            return [_LAYERS[layer]]
    raise AssertionError(f"no author has {'.'.join(path)}")


def _level(network: str, level: int, config: AutoencoderConfig, dialect: Dialect) -> str:
    if network == "encoder":
        return f"{dialect.encoder_level}.{level}"
    assert isinstance(config.decoder, CNNConfig)
    last = len(config.decoder.multipliers) - 1
    return f"{dialect.decoder_level}.{level if dialect.coarse_first else last - level}"


def _attention(layer: str, dialect: Dialect) -> list[str]:
    if layer == "qkv":
        return ["qkv"] if dialect.fused else ["q", "k", "v"]
    return ["proj_out" if layer == "out" else layer]
