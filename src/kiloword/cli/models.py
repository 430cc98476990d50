"""`kiloword models`: the models on this machine."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

EXAMPLE = "Example: kiloword models --json"


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLE)(models)


def models(as_json: Annotated[bool, Option("--json", help="Print one JSON object, not a table.")] = False) -> None:
    """List shipped and pulled models: what they draw from, sizes, styles, licences."""
    from kiloword import checkpoint

    found = [_facts(name, checkpoint.SHIPPED / name) for name in checkpoint.shipped()]
    found += [_facts(name, checkpoint.pulled(name)) for name in checkpoint.pulled_models()]
    if as_json:
        print(json.dumps({"default": checkpoint.DEFAULT, "models": found}, ensure_ascii=False))
        return
    if not found:
        raise ValueError("no model comes with this kiloword: give a folder or owner/name on the hub with --model")
    from rich.console import Console
    from rich.table import Column, Table

    whole = [Column(title, no_wrap=True) for title in ("model", "draws from", "pixels by", "weights")]
    table = Table(*whole, "sizes", "styles", Column("licence", overflow="fold"), box=None)
    for facts in found:
        table.add_row(
            facts["name"], f"a {facts['prompts']}" if facts["prompts"] != "nothing" else "nothing",
            _painting(facts["decoder"]), f"{facts['parameters'] / 1e6:.1f} M\n{facts['bytes'] / 1e6:.1f} MB",
            " ".join(facts["sizes"]), " ".join(facts["styles"]), facts["licence"],
        )  # fmt: skip
    Console(soft_wrap=True).print(table)


def _facts(name: str, folder: Path) -> dict[str, Any]:
    from safetensors import safe_open

    from kiloword.checkpoint import WEIGHTS, read_config

    config, card = read_config(folder)
    with safe_open(folder / WEIGHTS, "pt") as file:
        parameters = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return {
        "name": name, "about": card.about, "prompts": card.prompts,
        "sizes": [f"{width}x{height}" for height, width in card.sizes], "styles": list(card.styles),
        "decoder": _decoder(config.decoder), "path": str(folder), "parameters": parameters,
        "bytes": (folder / WEIGHTS).stat().st_size, "licence": card.licence, "guidance": card.guidance,
        "temperature": card.temperature, "top_k": card.top_k, "top_p": card.top_p,
    }  # fmt: skip


def _decoder(config: Any) -> dict[str, Any] | None:
    """A diffusion decoder's effort, and its scale (pixels out per pixel of the tokenizer); None if there is none."""
    return None if config is None else {"scale": config.denoiser.scale, **dataclasses.asdict(config.effort)}


def _painting(facts: dict[str, Any] | None) -> str:
    """Who makes the pixels, for the table."""
    if facts is None:
        return "tokenizer"
    counts = (f"{facts[name]} {name if facts[name] > 1 else name[:-1]}" for name in ("steps", "groups"))
    return "\n".join(("diffusion", *counts))
