"""`kiloword generate` from a cold start to a written PNG: how long, how much is drawing, what importing costs.

Every run is a new process. The operating system's file cache is warm from the second run on; the first is shown apart.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import arguments, show, table

from kiloword import checkpoint

PROMPT = "a red apple"


def generate(model: str, folder: Path) -> tuple[float, float]:
    """Seconds from start to written PNG, and the seconds of it that the command counts as drawing."""
    picture = folder / "apple.png"
    picture.unlink(missing_ok=True)
    words = ["generate", PROMPT, "--model", model, "--seed", "7", "--json", "-o", str(picture)]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "kiloword", *words], capture_output=True, text=True, check=False)
    took = time.perf_counter() - started
    if done.returncode or not picture.exists():
        raise SystemExit(f"kiloword generate failed: {done.stderr.strip()}")
    return took, json.loads(done.stdout)["seconds"]


def imports(names: int) -> list[tuple[str, float]]:
    """The packages whose import takes longest, in seconds of their own modules (nested packages counted apart)."""
    code = "import kiloword; kiloword.load; import kiloword.cli.app"
    command = [sys.executable, "-X", "importtime", "-c", code]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    seconds: dict[str, float] = {}
    for line in report.splitlines():
        _, _, values = line.partition("import time:")
        parts = [part.strip() for part in values.split("|")]
        if len(parts) == 3 and parts[0].isdigit():
            package = parts[2].split(".")[0]
            seconds[package] = seconds.get(package, 0.0) + int(parts[0]) / 1e6
    total = [("all imports", sum(seconds.values()))]
    return total + sorted(seconds.items(), key=lambda item: -item[1])[:names]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], rounds=3)
    parser.add_argument("--model", default=checkpoint.DEFAULT, help="a shipped model, or a checkpoint's folder")
    parser.add_argument("--imports", type=int, default=8, help="packages to name")
    chosen = parser.parse_args()
    if chosen.model not in checkpoint.shipped() and not Path(chosen.model).is_dir():
        print(f"skipped: there is no model {chosen.model!r} yet (shipped: {', '.join(checkpoint.shipped()) or 'none'})")
        return
    os.environ["OMP_NUM_THREADS"] = str(chosen.threads)
    with tempfile.TemporaryDirectory() as folder:
        runs = [generate(chosen.model, Path(folder)) for _ in range(chosen.rounds + 1)]
    first, totals, drawing = runs[0][0], [run[0] for run in runs[1:]], [run[1] for run in runs[1:]]
    slowest = imports(chosen.imports)
    figures = {
        "first_s": first, "total_s": statistics.median(totals), "drawing_s": statistics.median(drawing),
        "imports_s": dict(slowest),
    }  # fmt: skip
    rows = [[name, figures[key]] for name, key in [
        ("first run, s", "first_s"), ("median of the next, s", "total_s"), ("  of it drawing, s", "drawing_s"),
    ]]  # fmt: skip
    tables = [table(f"kiloword generate, cold start to PNG, {chosen.threads} threads", ["", ""], rows)]
    tables.append(table("importing (python -X importtime)", ["package", "s"], slowest))
    show(chosen, figures, tables)


if __name__ == "__main__":
    sys.exit(main())
