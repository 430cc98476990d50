"""How much memory a training of many pictures takes: synthetic ones in tar files, from pixels to a trained model.

`python benchmarks/data_memory.py` makes 100,000 pictures of 64x64 pixels in a folder that is removed afterwards, and
a new process runs a recipe on them: pictures are prepared, a tokenizer and a model are trained for a
few iterations, and all pictures are encoded to tokens. Printed is the peak of that process's resident memory
(getrusage, ru_maxrss), which is that of the whole training: more iterations read the same files again.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

COLOURS = ("red", "green", "blue", "yellow", "grey", "brown", "pink", "white")
SHAPES = ("square", "disc", "ring", "cross", "stripe", "wave", "star", "cloud")
PER_FILE = 5000

CHILD = """
import json, resource, sys
from pathlib import Path
from kiloword.recipes import registry

stages, peaks = {}, {}
def report(stage, iteration, iterations, figures):
    stages[stage] = iteration
    peaks[stage] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

recipe, data, out, changes = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4])
registry.run(recipe, data=data, out=out, changes=changes, report=report)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scale = 1 if sys.platform == "darwin" else 1024
print(json.dumps({"peak": peak * scale, "stages": stages, "peaks": {k: v * scale for k, v in peaks.items()}}))
"""


def write_pictures(folder: Path, count: int, side: int) -> int:
    """A webdataset of noisy pictures, which compress badly, in colours of their own; its bytes are returned."""
    random = np.random.default_rng(0)
    for first in range(0, count, PER_FILE):
        with tarfile.open(folder / f"{first // PER_FILE:05d}.tar", "w") as archive:
            for number in range(first, min(first + PER_FILE, count)):
                values = random.integers(0, 256, 3) // 2 + random.integers(0, 128, (side, side, 3))
                file = io.BytesIO()
                Image.fromarray(values.astype(np.uint8)).save(file, "JPEG", quality=90)
                words = f"a {COLOURS[number % 8]} {SHAPES[number // 8 % 8]}, number {number}"
                for name, content in ((f"{number:06d}.jpg", file.getvalue()), (f"{number:06d}.txt", words.encode())):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return sum(path.stat().st_size for path in folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--recipe", default="emoji-llamagen", help="a recipe of a whole model")
    parser.add_argument("--iterations", type=int, default=20, help="of tokenizer and model, each")
    parser.add_argument("--versions", type=int, default=2, help="of every picture in the token cache")
    chosen = parser.parse_args()
    changes = {
        "data.side": chosen.side, "data.versions": chosen.versions, "data.vocabulary": 1000,
        **{f"{stage}.iterations": chosen.iterations for stage in ("tokenizer_training", "training")},
    }  # fmt: skip
    with TemporaryDirectory(prefix="kiloword-memory-") as scratch:
        data, out = Path(scratch) / "data", Path(scratch) / "run"
        data.mkdir()
        size, started = write_pictures(data, chosen.pictures, chosen.side), time.perf_counter()
        settings = json.dumps({name: str(value) for name, value in changes.items()})
        words = [sys.executable, "-c", CHILD, chosen.recipe, str(data), str(out), settings]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        seconds = time.perf_counter() - started
        found = json.loads(done.stdout.splitlines()[-1])
        tokens = sum(path.stat().st_size for path in (out / "tokens").iterdir())
    print(f"{chosen.pictures:,} pictures of {chosen.side} px, {size / 1e9:.2f} GB as they came, {chosen.recipe}")
    print(f"prepared: {16 * chosen.side**2 * chosen.pictures / 1e9:.2f} GB on disk; tokens: {tokens / 1e9:.3f} GB")
    for stage, peak in found["peaks"].items():
        print(f"peak by the end of {stage!r}: {peak / 1e9:.2f} GB")
    print(f"peak of the whole training: {found['peak'] / 1e9:.2f} GB, {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    main()
