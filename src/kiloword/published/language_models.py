"""Language models in transformers' layout: how Llama, Qwen and Gemma differ, and under which names their weights lie.

Touvron et al. 2023 (Llama), Bai et al. 2023 (Qwen), Gemma Team 2024; transformers 5.23.0.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kiloword.published.page import Source
from kiloword.transformer import (
    AttentionConfig,
    GemmaGLUConfig,
    RMSNormConfig,
    RotaryConfig,
    StackConfig,
    StretchedConfig,
    SwiGLUConfig,
)

# Axes: c ids of a vocabulary, w width.


@dataclass(frozen=True)
class Kind:
    """What sets one kind apart from Llama.

    Where embeddings are `scaled`, they are multiplied by the root of the width, and the weights of norms count from 1.
    """

    feed_forward: type[SwiGLUConfig] | type[GemmaGLUConfig] = SwiGLUConfig
    activations: tuple[str, ...] = ("silu",)
    bias: bool = False  # of queries, keys and values
    query_norm: bool = False
    head_dim: int | None = None  # where a model doesn't say it; None: width / heads
    tied: bool = False  # where a model doesn't say it
    scaled: bool = False


KINDS = {
    "gemma": Kind(GemmaGLUConfig, ("gelu_pytorch_tanh", "gelu"), head_dim=256, tied=True, scaled=True),
    "llama": Kind(),
    "qwen2": Kind(bias=True),
    "qwen3": Kind(query_norm=True, head_dim=128),
}
# What our stack has no part for, and what a model's settings say if they do without.
WITHOUT = {"use_sliding_window": False, "mlp_bias": False, "pretraining_tp": 1}


def kind_of(arguments: dict[str, Any]) -> Kind:
    """Of the settings in a config.json. Raises ValueError for models that our stack has no parts for."""
    name = arguments.get("model_type", "gemma")
    if name not in KINDS:
        raise ValueError(f"language model {name!r} is none that kiloword knows: give one of {', '.join(KINDS)}")
    activation = arguments.get("hidden_activation") or arguments.get("hidden_act") or KINDS[name].activations[0]
    if activation not in KINDS[name].activations:
        known = " or ".join(KINDS[name].activations)
        raise ValueError(f"this {name} has the activation {activation!r}, kiloword's has {known}: give another model")
    for setting, value in WITHOUT.items():
        if arguments.get(setting, value) not in (value, None):
            raise ValueError(f"this {name} has {setting} {arguments[setting]}, kiloword's {value}: give another model")
    return KINDS[name]


def tied(arguments: dict[str, Any]) -> bool:
    """Whether embedding and output share a matrix."""
    return bool(arguments.get("tie_word_embeddings", kind_of(arguments).tied))


def gain(arguments: dict[str, Any]) -> float:
    """By which embeddings are multiplied."""
    return arguments["hidden_size"] ** 0.5 if kind_of(arguments).scaled else 1.0


def stack_of(arguments: dict[str, Any]) -> StackConfig:
    """Of the settings in a config.json."""
    kind, width, heads = kind_of(arguments), arguments["hidden_size"], arguments["num_attention_heads"]
    norm = RMSNormConfig(arguments.get("rms_norm_eps", 1e-6))
    head_dim = arguments.get("head_dim") or kind.head_dim or width // heads
    biased = bool(arguments.get("attention_bias", False))
    attention = AttentionConfig(
        heads, arguments.get("num_key_value_heads") or heads, head_dim, bias=kind.bias or biased,
        query_norm=norm if kind.query_norm else None, out_bias=biased,
    )  # fmt: skip
    return StackConfig(
        width, arguments["num_hidden_layers"], attention, kind.feed_forward(arguments["intermediate_size"]), norm,
        position_of(arguments, head_dim),
    )  # fmt: skip


def position_of(arguments: dict[str, Any], head_dim: int) -> RotaryConfig | StretchedConfig:
    """All channels rotate with time. transformers 5 moved the settings to rope_parameters."""
    settings = {**(arguments.get("rope_scaling") or {}), **(arguments.get("rope_parameters") or {})}
    base = float(settings.get("rope_theta") or arguments.get("rope_theta") or 10000.0)
    rotary = RotaryConfig((head_dim, 0, 0, 0), (base, 100.0, 100.0, 100.0))
    match settings.get("rope_type") or settings.get("type") or "default":
        case "default":
            return rotary
        case "llama3":
            return StretchedConfig(
                rotary, settings["factor"], settings["low_freq_factor"], settings["high_freq_factor"],
                settings["original_max_position_embeddings"],
            )  # fmt: skip
        case other:
            raise ValueError(f"rotary positions of type {other!r} are unknown: give a model with default or llama3")


# Our parameter names in a block -> the names in a layer of transformers.
BLOCK = {
    "attention.qkv.weight": tuple(f"self_attn.{x}_proj.weight" for x in "qkv"),
    "attention.qkv.bias": tuple(f"self_attn.{x}_proj.bias" for x in "qkv"),
    "attention.out.weight": ("self_attn.o_proj.weight",),
    "attention.out.bias": ("self_attn.o_proj.bias",),
    "attention.query_norm.weight": ("self_attn.q_norm.weight",),
    "attention.key_norm.weight": ("self_attn.k_norm.weight",),
    "attention_norm.weight": ("input_layernorm.weight",),
    "feed_forward_norm.weight": ("post_attention_layernorm.weight",),
    "feed_forward.gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "feed_forward.out.weight": ("mlp.down_proj.weight",),
}


def source_name(name: str, config: StackConfig) -> Source:
    """The source of a parameter of the stack. Gemma, whose norms need a shift, is recognised by its feed-forward."""
    names = ("model.norm.weight",)
    if name.startswith("blocks."):
        _, number, kind = name.split(".", 2)
        names = tuple(f"model.layers.{number}.{part}" for part in BLOCK[kind])
    from_one = name.endswith("norm.weight") and isinstance(config.feed_forward, GemmaGLUConfig)
    return Source(names, changed=counted_from_one if from_one else None)


def counted_from_one(weight: Tensor) -> Tensor:
    """Gemma's norms multiply by 1 + weight."""
    return 1 + weight.float()


def checked_vocabulary(matrix: Float[Tensor, "c w"], words: int, pictures: int) -> Float[Tensor, "c w"]:
    """A vocabulary's matrix as it is. Raises ValueError if it is too small for the tokens of pictures."""
    if len(matrix) < words + pictures:
        raise ValueError(
            f"this language model has {len(matrix)} rows, {words} words and {pictures} picture tokens take "
            f"{words + pictures}: let its vocabulary grow with kiloword.published.language_models.grow"
        )
    return matrix


def grow(tensors: dict[str, Tensor], words: int, pictures: int) -> dict[str, Tensor]:
    """A language model's weights with vectors for picture tokens behind its words: each begins as the mean of all
    words (Hewitt 2021), as Liquid's did. Unused vectors behind the words are dropped."""
    extended = dict(tensors)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in tensors:
            kept = tensors[name][:words]
            mean = kept.float().mean(0).to(kept).expand(pictures, -1)
            extended[name] = torch.cat([kept, mean])
    return extended
