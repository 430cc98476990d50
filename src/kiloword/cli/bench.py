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
PROMPTS: dict[str, str | int | None] = {"text": "a red apple", "class": 0, "nothing": None}  # by `card.prompts`


def add(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLE)(bench)


def bench(
    model: Annotated[
        str | None, Option(help="A shipped model, a folder, or owner/name on the hub. Default: emoji-64.")
    ] = None,
    repeats: Annotated[int, Option(help="How many times to draw at each batch size; the fastest counts.")] = 3,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Measure drawing speed: cold start to a written file, seconds per picture at batch 1 and 8, tokens per second."""
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
        print(f"batch {batch}  {row['seconds_a_picture']:8.3f} s per picture  {row['tokens_a_second']:8.0f} tokens/s")


def _cold(model: str, prompts: str) -> float:
    """Seconds that `kiloword generate` takes in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        prompt = {"text": [str(PROMPTS["text"])], "class": ["--class", str(PROMPTS["class"])], "nothing": []}[prompts]
        words = ["generate", *prompt, "--model", model, "--no-show", "-o", str(Path(folder) / "picture.png")]
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "kiloword", *words], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip().removeprefix("kiloword: "))
    return time.perf_counter() - started


def _drawing(painter: "Painter", batch: int, repeats: int) -> dict[str, float]:
    tokens, seconds = 0, []
    for repeat in range(repeats):
        started = time.perf_counter()
        for preview in painter.stream(PROMPTS[painter.card.prompts], partials=0, n=batch, seed=repeat):
            tokens = preview.known.numel() * batch
        seconds.append(time.perf_counter() - started)
    best = min(seconds)
    return {"seconds_a_picture": round(best / batch, 4), "tokens_a_second": round(tokens / best, 1)}
