"""Liquid's files as its authors have them, at a tiny size and of random weights, and the page of that size."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

import chat_template
from kiloword import parts
from kiloword.model import ImageModel
from kiloword.published.liquid import PAGE
from kiloword.published.page import Page, names_of

VQGAN = {
    "ddconfig": {
        "ch": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "z_channels": 6, "in_channels": 3, "out_ch": 3,
        "resolution": 8, "attn_resolutions": (), "norm_groups": 4,
    },
    "n_embed": 12, "embed_dim": 6,
}  # fmt: skip
TINY = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
    "intermediate_size": 20, "text_vocab": 330, "image_tokens": 12, "pad": 0, "eos": chat_template.END,
    "bos": chat_template.BEGIN, "boi": chat_template.OPEN, "eoi": chat_template.CLOSE,
    "unconditional": chat_template.NOTHING, "tokenizer": VQGAN,
}  # fmt: skip


def made(arguments: dict, device: str = "meta") -> ImageModel:
    with torch.device(device):
        return parts.build(PAGE.parts(arguments))


def written(folder: Path, arguments: dict, whole: bool = False) -> dict[str, torch.Tensor]:
    """A folder as the authors have it, of random weights: the language model in two files or one, and all the rest."""
    torch.manual_seed(0)
    model = made(arguments, "cpu")
    tensors: dict[str, torch.Tensor] = {}
    shapes = model.state_dict()
    for name, source in names_of(PAGE, PAGE.parts(arguments), model).items():
        shape = shapes[name].shape
        heads = [2, 1, 1] if "qkv" in name else [1] * len(source.names)
        for key, share in zip(source.names, heads, strict=True):
            tensors[key] = torch.randn(shape[0] * share // sum(heads), *shape[1:]) * 0.3
    language = {key: value.bfloat16() for key, value in tensors.items() if not key.startswith("vqgan.")}
    language["lm_head.weight"] = language["model.embed_tokens.weight"].clone()
    shards = {"model.safetensors": language}
    if not whole:
        names = sorted(language)
        shards = {f"model-{i}.safetensors": {key: language[key] for key in names[i::2]} for i in range(2)}
        files = {key: name for name, values in shards.items() for key in values}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    for name, values in shards.items():
        save_file(values, folder / name)
    vqgan = {key.removeprefix("vqgan."): value for key, value in tensors.items() if key.startswith("vqgan.")}
    torch.save({"state_dict": {**vqgan, "loss.logvar": torch.zeros(1)}}, folder / "vqgan.ckpt")
    (folder / "tokenizer.json").write_text(chat_template.wordbook())
    (folder / "config.json").write_text("{}")
    return tensors


def tiny_page(**changes) -> Page:
    variant = replace(PAGE.variants["7b"], arguments={**TINY, **changes})
    return replace(PAGE, variants={"tiny": variant}, card=lambda _: replace(PAGE.card("7b"), sizes=((6, 6),)))
