"""What a second thread brings to a step of a transformer, by its width and by how many positions go through it at once.

One thread and all of them take turns; both wait as `kiloword` sets it. The rule that follows from the table is
`kiloword.engine.cpu.threads.threads_for`; its choice is in the last column.
"""

import sys
from collections.abc import Callable
from functools import partial

import kiloword  # noqa: F401  before torch: it sets how threads wait

import torch  # isort: skip
from side_by_side import arguments, show, table, take_turns, use_threads

from kiloword.engine.cpu import threads
from kiloword.engine.cpu.fused_stack import fused
from kiloword.engine.cpu.packed_linear import pack_matrices
from kiloword.transformer import AttentionConfig, StackConfig, Stream, SwiGLUConfig

DEPTH = 6


def stack_step(width: int, positions: int) -> tuple[Callable[[int], None], int]:
    """A step of a stack of `DEPTH` blocks, with a cache of 256 positions behind it; the mean size of its matrices."""
    stack = StackConfig(width, DEPTH, AttentionConfig(width // 64), SwiGLUConfig(8 * width // 3)).build().eval()
    pack_matrices(stack)
    quick = fused(stack)
    cache = quick.cache(positions, 257)
    cache.advance(torch.full((positions,), 256))
    vectors, positions_4d = torch.randn(positions, 1, width), torch.zeros(positions, 1, 4)

    def step(count: int) -> None:
        torch.set_num_threads(count)
        quick(Stream(vectors, positions_4d), cache)

    weights = [p.numel() for p in stack.parameters() if p.ndim == 2]
    return step, sum(weights) // len(weights)


@torch.no_grad()
def main() -> None:
    parser = arguments(__doc__.splitlines()[0], rounds=30)
    parser.add_argument("--widths", type=int, nargs="+", default=[320, 384, 512, 768, 1024], help="of the stack")
    parser.add_argument("--positions", type=int, nargs="+", default=[1, 2], help="at once")
    options = parser.parse_args()
    use_threads(options.threads)
    figures, rows = {}, []
    for width in options.widths:
        for positions in options.positions:
            step, weights = stack_step(width, positions)
            seconds = take_turns({"one": partial(step, 1), "all": partial(step, options.threads)}, options.rounds)
            ms = {name: 1000 * value for name, value in seconds.items()}
            chosen = threads.threads_for(weights, positions, options.threads)
            figures[f"{width}, {positions}"] = {"weights": weights, **ms, "chosen": chosen}
            rows.append([f"{width}, {positions}", weights, *ms.values(), ms["one"] / ms["all"], chosen])
    head = ["width, positions", "weights of a matrix", "one thread, ms", "all, ms", "times as fast", "chosen"]
    show(options, figures, [table(f"A step of {DEPTH} blocks, {options.threads} threads", head, rows)])


if __name__ == "__main__":
    sys.exit(main())
