"""`kiloword pull`: published tokenizers, from their authors' files to checkpoints of ours."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from kiloword.cli import Stopped, say

EXAMPLES = """Example: kiloword pull dalle-dvae

Example: kiloword pull llamagen-vq/8 --from vq_ds8_c2i.pt --out my-vq8

Example: kiloword pull --list"""


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(pull)


def pull(
    name: Annotated[str | None, Argument(help="A published tokenizer, like llamagen-vq or llamagen-vq/8.")] = None,
    given: Annotated[
        list[Path] | None,
        Option("--from", metavar="FILE", help="A file that you have, or a folder; nothing is fetched."),
    ] = None,
    out: Annotated[Path | None, Option(help="Folder of the checkpoint. Default: in kiloword's cache folder.")] = None,
    show: Annotated[bool, Option("--list", help="List what can be pulled.")] = False,
    as_json: Annotated[bool, Option("--json", help="With --list: print one JSON object.")] = False,
) -> None:
    """Fetch a published tokenizer and convert it. Its folder is printed; its name is known to all other commands then.

    What was fetched is kept and checked; a download that was stopped goes on. No code in the files is run.
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
    say(f"see what it keeps of a picture: kiloword verify --model {out or name} picture.png")
    print(folder)


def _list(as_json: bool) -> None:
    from kiloword import published

    found = [_facts(page, variant) for page in map(published.page, published.names()) for variant in page.variants]
    if as_json:
        print(json.dumps({"published": found}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "parameters", "size", "licence", "what it is", "here", box=None)
    for facts in found:
        table.add_row(
            facts["name"], f"{facts['parameters'] / 1e6:.1f} M", f"{facts['bytes'] / 1e6:,.0f} MB", facts["licence"],
            facts["about"], "yes" if facts["path"] else "",
        )  # fmt: skip
    Console(soft_wrap=True).print(table)


def _facts(page: Any, variant: str) -> dict[str, Any]:
    from kiloword.checkpoint import CONFIG, pulled

    facts, folder = page.variants[variant], pulled(f"{page.name}/{variant}")
    return {
        "name": f"{page.name}/{variant}", "title": page.title, "about": facts.about, "licence": page.licence,
        "parameters": facts.parameters, "bytes": 4 * facts.parameters, "source": page.source,
        "files": [file.url or f"{file.repository}/{file.name}" for file in facts.files],
        "path": str(folder) if (folder / CONFIG).exists() else None,
    }  # fmt: skip
