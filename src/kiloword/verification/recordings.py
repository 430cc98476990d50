"""Recordings on disk: which page each is of, its settings, and the authors' weights in it.

Source: defined here. A recording is a folder of config.json, io.safetensors and files of weights.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kiloword.formats.weight_file import read
from kiloword.published import page
from kiloword.published.page import Page
from kiloword.verification.proof import Proof

# page -> module that holds its PROOF, and the prefixes of the names of its recordings
RECORDED = {
    "chameleon-vqgan": ("chameleon_stages", ("chameleon_vqgan",)),
    "dalle-dvae": ("dalle_dvae_stages", ("dalle_dvae",)),
    "igpt": ("igpt_stages", ("igpt_",)),
    "igpt-palette": ("igpt_palette_stages", ("igpt_",)),
    "infinity": ("infinity_stages", ("infinity_transformer",)),
    "infinity-vae": ("infinity_vae_stages", ("infinity_bsq_vae",)),
    "liquid": ("liquid_stages", ("liquid",)),
    "llamagen": ("llamagen_stages", ("llamagen_c2i", "llamagen_t2i")),
    "llamagen-vq": ("llamagen_vq_stages", ("llamagen_vq",)),
    "mar": ("mar_stages", ("mar",)),
    "mar-kl16": ("mar_kl16_stages", ("mar_kl16",)),
    "unitok": ("unitok_stages", ("unitok_tokenizer",)),
    "var": ("var_stages", ("var_transformer",)),
    "var-vae": ("var_vae_stages", ("var_vqvae", "var_quantizer")),
}


def proof_of(page: Page) -> Proof:
    """What is compared of a page."""
    return import_module(f"kiloword.verification.{RECORDED[page.name][0]}").PROOF


def recorded(name: str) -> list[Page]:
    """The pages that a recording of that name concerns: those with the longest prefix of it."""
    fits = {
        known: max((len(prefix) for prefix in prefixes if name.startswith(prefix)), default=0)
        for known, (_, prefixes) in RECORDED.items()
    }
    return [page(known) for known, length in fits.items() if length and length == max(fits.values())]


def read_settings(folder: Path) -> dict[str, Any]:
    """The config.json of a recording. Raises ValueError if there is none, or one of something else."""
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(settings, dict) or not {"name", "config"} <= settings.keys():
        raise ValueError(f"{path} does not describe a recording: name and config are needed")
    return settings


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """What went into the authors' code and what came out. Raises ValueError if it cannot be read."""
    try:
        return load_file(folder / "io.safetensors")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{folder / 'io.safetensors'} cannot be read: {error}") from error


def read_weights(folder: Path, settings: dict[str, Any]) -> dict[str, Tensor]:
    """The authors' weights in a recording: one file, or several whose names are put before those in them.

    They are its safetensors; where it has none, its TensorFlow checkpoints, PREFIX.index or PREFIX.* for all files.
    """
    listed = settings.get("weights_files") or {}
    found: dict[str, Tensor] = {}
    files = {part: name for part, name in listed.items() if name.endswith(".safetensors")} or {
        part: name.removesuffix("*").removesuffix("index") + "index"
        for part, name in listed.items()
        if name.endswith((".index", ".*"))
    }
    for part, name in files.items():
        found |= read(folder / name, part="" if len(files) == 1 else part)
    return found
