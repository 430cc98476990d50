"""`kiloword bench`: how fast this machine draws."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

if TYPE_CHECKING:
    from kiloword.engine.painter import Painter

EXAMPLE = "Example: kiloword bench --json"
ASKED: dict[str, str | int | None] = {"text": "a red apple", "class": 0, "nothing": None}  # as the card says


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLE)(bench)


def bench(
    model: Annotated[str | None, Option(help="A shipped model, a folder, or owner/name on the hub.")] = None,
    repeats: Annotated[int, Option(help="Drawings of each kind; the fastest one counts.")] = 3,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Measure this machine: from a cold start to a file, seconds a picture at batch 1 and 8, tokens a second."""
    if repeats < 1:
        raise ValueError(f"--repeats is {repeats}: draw at least once")
    import torch

    from kiloword import checkpoint

    name = model or checkpoint.DEFAULT
    painter = checkpoint.load(name)
    figures: dict[str, Any] = {
        "model": painter.card.name, "torch": torch.__version__, "threads": torch.get_num_threads(),
        "cold_start_seconds": round(_cold(name, painter.card.prompts), 2),
    }  # fmt: skip
    for batch in (1, 8):
        figures[f"batch_{batch}"] = _drawing(painter, batch, repeats)
    if as_json:
        print(json.dumps(figures))
        return
    print(f"{figures['model']}, torch {figures['torch']}, {figures['threads']} threads")
    print(f"cold start to a written picture  {figures['cold_start_seconds']:8.2f} s")
    for batch in (1, 8):
        row = figures[f"batch_{batch}"]
        print(f"batch {batch}  {row['seconds_a_picture']:8.3f} s a picture  {row['tokens_a_second']:8.0f} tokens/s")


def _cold(model: str, prompts: str) -> float:
    """Seconds of a whole `kiloword generate` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {"text": [str(ASKED["text"])], "class": ["--class", str(ASKED["class"])], "nothing": []}[prompts]
        words = ["generate", *asked, "--model", model, "--no-show", "-o", str(Path(folder) / "picture.png")]
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "kiloword", *words], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip().removeprefix("kiloword: "))
    return time.perf_counter() - started


def _drawing(painter: "Painter", batch: int, repeats: int) -> dict[str, float]:
    tokens, seconds = 0, []
    for repeat in range(repeats):
        started = time.perf_counter()
        for preview in painter.stream(ASKED[painter.card.prompts], partials=0, n=batch, seed=repeat):
            tokens = preview.known.numel() * batch
        seconds.append(time.perf_counter() - started)
    best = min(seconds)
    return {"seconds_a_picture": round(best / batch, 4), "tokens_a_second": round(tokens / best, 1)}
