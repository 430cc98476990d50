"""Drawing, training and serving beside other programs that compute: how much slower than on the machine alone.

`draw` is what `kiloword generate "a red apple"` counts as drawing, in a new process each time; `train` some
iterations of the shipped recipe's network; `serve` a process with two requests for drawings at a time. Other programs
on the machine are not excluded: the load average before every row shows whether there were any.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import kiloword

PROMPT, ITERATIONS, BATCH, SERVED = "a red apple", 4, 16, 2
REMOVED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
BUSY = "import numpy as np\nx = np.random.rand(300, 300)\nwhile True: sum(i * i for i in range(100_000)); (x * x).sum()"


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """This many programs that compute, each with one thread; they are ended on leaving."""
    programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        time.sleep(1 if count else 0)  # until they have started
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def draw(source: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "kiloword", "generate", PROMPT, "--seed", "1", "--json", "-o", f"{folder}/a.png"]
        return json.loads(run(words, source))["seconds"]


def work(name: str, source: Path) -> float:
    return float(run([__file__, "--work", name], source))


def run(words: list[str], source: Path) -> str:
    """The output of a new Python that imports from `source`, without settings of threads in its environment."""
    cleaned = {name: value for name, value in os.environ.items() if name not in REMOVED}
    command, environment = [sys.executable, *words], cleaned | {"PYTHONPATH": str(source)}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def train() -> float:
    """Seconds of some iterations, with threads that wait as `kiloword train` lets them."""
    from kiloword.engine.cpu.threads import TRAINING, wait_briefly

    wait_briefly(TRAINING)  # before torch is loaded
    from lightning_fabric import Fabric
    from training import MadeUp

    from kiloword.recipes.registry import load
    from kiloword.training.loop import Run, TrainingConfig

    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(ITERATIONS, BATCH, look_every=0, log_every=1)
        ends = [time.perf_counter()]
        task = MadeUp(load("emoji-64").model.build(), BATCH)
        Run(task, config, Path(folder), Fabric(accelerator="cpu", devices=1)).train(
            lambda iteration, figures: ends.append(time.perf_counter())
        )
    return ends[-1] - ends[1]  # the first one prepares much


def serve() -> float:
    """Seconds of two drawings at once, each twice."""
    painter = kiloword.load("emoji-64")
    painter.generate(PROMPT, seed=0)
    started = time.perf_counter()
    with ThreadPoolExecutor(SERVED) as pool:
        list(pool.map(lambda seed: painter.generate(PROMPT, seed=seed), range(2 * SERVED)))
    return time.perf_counter() - started


def measured(options: argparse.Namespace) -> Iterator[dict]:
    """One row for each kind of work, each source and each number of programs beside it; sources take turns."""
    for count in options.busy:
        for kind in options.kinds:
            seconds: dict[str, list[float]] = {name: [] for name in options.sources}
            load = os.getloadavg()[0]
            for turn in range(options.tries):
                for name, source in list(options.sources.items())[:: -1 if turn % 2 else 1]:
                    with busy_programs(count):
                        seconds[name].append(draw(source) if kind == "draw" else work(kind, source))
                    print(f"{kind}, {count} busy, {name}: {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
            for name, values in seconds.items():
                yield {"work": kind, "source": name, "busy": count, "load_before": load, "seconds": values}


def markdown(rows: list[dict]) -> str:
    """Median and longest seconds, and their ratio to the median with no busy program."""
    lines = ["| work | source | busy programs | median, s | longest, s | times the quiet median | load before |"]
    lines.append("| --- " * 7 + "|")
    quiet = {(r["work"], r["source"]): statistics.median(r["seconds"]) for r in rows if r["busy"] == 0}
    for row in rows:
        median, longest = statistics.median(row["seconds"]), max(row["seconds"])
        alone = quiet.get((row["work"], row["source"]))
        ratio = f"{median / alone:.1f}, at most {longest / alone:.1f}" if alone else ""
        start = f"| {row['work']} | {row['source']} | {row['busy']} "
        lines.append(start + f"| {median:.2f} | {longest:.2f} | {ratio} | {row['load_before']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2, 4], help="busy programs beside")
    parser.add_argument("--tries", type=int, default=3, help="of each")
    parser.add_argument("--kinds", nargs="+", choices=["draw", "train", "serve"], default=["draw", "train", "serve"])
    parser.add_argument("--before", type=Path, help="src of another checkout, which takes turns with this one")
    parser.add_argument("--out", type=Path, help="also write a JSON file")
    parser.add_argument("--work", choices=["train", "serve"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return print({"train": train, "serve": serve}[options.work]())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the busy programs end too
    options.sources = {"now": Path(kiloword.__file__).parents[1]}
    if options.before:
        options.sources["before"] = options.before.resolve()
    rows = []
    for row in measured(options):
        rows.append(row)
        if options.out:  # after every row: what was measured is there if the rest takes too long
            options.out.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=1) + "\n")
    print(markdown(rows))


if __name__ == "__main__":
    sys.exit(main())
