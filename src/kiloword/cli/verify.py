"""`kiloword verify`: compare published systems, rebuilt here, with recordings of their authors' code"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

EXAMPLES = """Example: kiloword verify recordings/var_vqvae recordings/mar_kl16

Example: kiloword verify --model dalle-dvae photo.png --out photo-verified.png"""


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(verify)


def verify(
    paths: Annotated[
        list[Path], Argument(metavar="DIR...|IMAGE...", help="Recordings of the authors' code; with --model, pictures.")
    ],
    model: Annotated[str | None, Option(help="A pulled tokenizer: encode and decode pictures with it instead.")] = None,
    out: Annotated[Path | None, Option(help="With --model: PNG of the pictures beside their reconstructions.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Rebuild the system of each recording from its authors' weights, run every recorded stage and compare.

    Ids and bits have to be equal, all else within a relative error of 1e-4. Exit code 1 if a tensor fails.
    With --model: encode and decode pictures with a tokenizer, and print the PSNR of each in dB.
    """
    if model is not None:
        from kiloword.cli.rebuilt import rebuild

        rebuild(model, paths, out, as_json)
        return
    if out is not None:
        raise ValueError(f"--out {out} goes with --model, which rebuilds pictures")
    from kiloword.verification.comparison import verify as rows_of

    failed = 0
    for folder in paths:
        if not as_json:
            print(folder)
        for row in rows_of(folder):
            failed += not row.passed
            print(json.dumps({"recording": str(folder), **asdict(row)}) if as_json else _line(row))
    if failed:
        raise typer.Exit(1)


def _line(row) -> str:
    amount = f"{row.error:g} differ" if row.exact else f"{row.error:.1e}"
    return f"  {row.page:<16} {row.tensor:<28} {amount:>12}  {'ok' if row.passed else 'FAIL'}"
