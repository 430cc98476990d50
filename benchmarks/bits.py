"""Memory of the bitwise head beside a flat softmax over the same vocabulary: python benchmarks/bits.py.

Han et al. 2024 (Infinity), section 3.3: 2 d logits a token in place of 2^d. The parameters of both are counted; a
training step of each is measured where it fits.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable

import torch

from kiloword.heads.bitwise import BitwiseConfig
from kiloword.heads.categorical import CategoricalConfig
from kiloword.tokens import Bits, Categorical

BITS = (8, 12, 16, 18, 32, 56)
FITS = 16  # bits up to which the flat head is built
HEADS: dict[str, Callable[[int, int], torch.nn.Module]] = {
    "bitwise": lambda bits, width: BitwiseConfig(Bits(bits), width).build(),
    "flat": lambda bits, width: CategoricalConfig(Categorical(2**bits), width, bias=True).build(),
}


def weight(name: str, bits: int, width: int) -> int:
    """Parameters of a head's output: a matrix and a bias."""
    logits = 2 * bits if name == "bitwise" else 2**bits
    return logits * (width + 1)


def training_step(name: str, bits: int, width: int, tokens: int) -> None:
    """The loss of some tokens and its gradient, once."""
    torch.manual_seed(0)
    head = HEADS[name](bits, width)
    shape = (1, tokens, bits) if name == "bitwise" else (1, tokens)
    target = torch.randint(2 if name == "bitwise" else 2**bits, shape)
    head.loss(torch.randn(1, tokens, width), target, None, None).sum().backward()  # pyright: ignore


def peak(*arguments: object) -> float:
    """MB that a new process takes for a training step, beyond what importing takes ("none")."""
    command = [sys.executable, __file__, "--once", *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def once(name: str, bits: str, width: str, tokens: str) -> None:
    if name != "none":
        training_step(name, int(bits), int(width), int(tokens))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=521)
    parser.add_argument("--once", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.once:
        once(*arguments.once)
        return
    width, tokens, rows = arguments.width, arguments.tokens, []
    empty = peak("none", 0, width, tokens)
    for bits in BITS:
        row: dict[str, float | int | None] = {"bits": bits}
        for name in HEADS:
            measured = name == "bitwise" or bits <= FITS
            row[f"{name}_output_parameters"] = weight(name, bits, width)
            row[f"{name}_training_step_mb"] = round(peak(name, bits, width, tokens) - empty, 1) if measured else None
        rows.append(row)
    print(json.dumps({"width": width, "tokens": tokens, "heads": rows}, indent=1))


if __name__ == "__main__":
    main()
