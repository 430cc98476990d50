"""Draws the pictures of docs/idea.md, every order as a table and a grid: python examples/orders.py docs/orders"""

import sys
from contextlib import chdir
from pathlib import Path

from kiloword.cli import main

COMMANDS = (
    "raster", "raster-columns", "raster-snake", "raster-spiral", "raster-random", "random", "draft", "next-scale",
    "masked --seed 1",
)  # fmt: skip


def orders(folder: Path) -> int:
    """One picture an order; the exit code of the first command that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    with chdir(folder):
        for command in COMMANDS:
            words = command.split()
            print("kiloword orders draw", command)
            if code := main(["orders", "draw", *words, "-o", f"{words[0]}.png"]):
                return code
    return 0


if __name__ == "__main__":
    sys.exit(orders(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
