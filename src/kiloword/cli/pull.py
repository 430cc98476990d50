"""`kiloword pull`: published systems, from their authors' files to checkpoints."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from kiloword.cli.messages import Stopped, say

EXAMPLES = """Example: kiloword pull dalle-dvae

Example: kiloword pull llamagen-vq/8 --from vq_ds8_c2i.pt --out my-vq8

Example: kiloword pull var/d16 --from var_d16.pth --from vae_ch160v4096z32.pth

Example: kiloword pull --list"""

DRAWS = {None: "", "text": "draws from words; ", "class": "draws classes; ", "nothing": "draws freely; "}


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(pull)


def pull(
    name: Annotated[str | None, Argument(help="A published system, like llamagen-vq or llamagen-vq/8.")] = None,
    given: Annotated[
        list[Path] | None,
        Option("--from", metavar="FILE", help="A file or folder that you have; nothing is downloaded."),
    ] = None,
    out: Annotated[Path | None, Option(help="Folder of the checkpoint. Default: in kiloword's cache folder.")] = None,
    show: Annotated[bool, Option("--list", help="List all published systems.")] = False,
    as_json: Annotated[bool, Option("--json", help="With --list: print one JSON object.")] = False,
) -> None:
    """Download a published tokenizer or model and convert it to a checkpoint.

    The checkpoint's folder is printed; all other commands then take its name as --model.

    Downloads are checked, and resume after a stop. No code in the files is run.
    """
    if show:
        _list(as_json)
        return
    if name is None:
        raise ValueError("say what to pull: kiloword pull NAME; kiloword pull --list shows what there is")
    from kiloword.checkpoint import pull_published
    from kiloword.cli.progress import progress

    try:
        with progress() as report:
            folder = pull_published(
                name, given or (), out,
                lambda file, done, total: report(f"MB of {file}", done >> 20, total and total >> 20, {}),
            )  # fmt: skip
    except KeyboardInterrupt:
        raise Stopped("what has come is kept, the same command goes on from there") from None
    say(_next(name, str(out or name)))
    print(folder)


def _next(name: str, model: str) -> str:
    """The command to try on a system that was pulled."""
    from kiloword import published

    page, variant = published.variant(name)
    if page.card is None:
        return f"see what it keeps of a picture: kiloword verify --model {model} picture.png"
    prompt = {"class": " --class 0", "text": ' "a red apple"', "nothing": ""}[page.card(variant).prompts]
    return f"draw with it: kiloword generate --model {model}{prompt}"


def _list(as_json: bool) -> None:
    from kiloword import published

    found = [_facts(page, variant) for page in map(published.page, published.names()) for variant in page.variants]
    if as_json:
        print(json.dumps({"published": found}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Column, Table

    whole = [Column(title, no_wrap=True) for title in ("name", "parameters", "size")]
    table = Table(*whole, "here", Column("what it is; its licence", overflow="fold"), box=None)
    for facts in found:
        table.add_row(
            facts["name"], f"{facts['parameters'] / 1e6:.1f} M", f"{facts['bytes'] / 1e6:,.0f} MB",
            "yes" if facts["path"] else "", f"{DRAWS[facts['prompts']]}{facts['about']}; {facts['licence']}",
        )  # fmt: skip
    Console(soft_wrap=True).print(table)


def _facts(page: Any, variant: str) -> dict[str, Any]:
    from kiloword.checkpoint import CONFIG, pulled

    facts, folder = page.variants[variant], pulled(f"{page.name}/{variant}")
    return {
        "name": f"{page.name}/{variant}", "prompts": page.card(variant).prompts if page.card else None,
        "title": page.title, "about": facts.about, "licence": page.licence, "source": page.source,
        "parameters": facts.parameters, "bytes": 4 * facts.parameters,
        "files": [file.url or f"{file.repository}/{file.name}" for file in facts.files],
        "path": str(folder) if (folder / CONFIG).exists() else None,
    }  # fmt: skip
