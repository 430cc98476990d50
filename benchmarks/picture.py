"""The shipped model drawing a picture, token by token: how long each takes, and where the time goes.

The recipe's own sizes with random weights, two views (prompt and null), through `kiloword.engine.drive.draw`.
"""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable

import torch
from side_by_side import arguments, bandwidth, show, table, use_threads

from kiloword.document import to_draw
from kiloword.drawing import Drawing
from kiloword.engine import drive
from kiloword.engine.cpu.fused_stack import FusedStack
from kiloword.engine.cpu.packed_linear import pack_matrices
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.recipes.registry import load

PROMPT = "a flat icon of red apple"


class Stopwatch:
    """Seconds spent in some methods, counted without those of the methods that they call."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self.inner = [0.0]

    def watch(self, name: str, owner: object, method: str) -> None:
        """Count the time of `owner.method` under `name` from now on."""
        inside: Callable = getattr(owner, method)

        def timed(*args, **kwargs):
            self.inner.append(0.0)
            started = time.perf_counter()
            result = inside(*args, **kwargs)
            took = time.perf_counter() - started
            self.seconds[name] += took - self.inner.pop()
            self.inner[-1] += took
            return result

        setattr(owner, method, timed)


def draw(model: ImageModel, count: int, sampling: Sampling) -> int:
    """Draw `count` pictures with guidance; the number of steps."""
    layout = model.picture.tokenizer.layout(64, 64)
    documents = to_draw([PROMPT] * count, layout)
    weights = torch.tensor([[2.0], [-1.0]]).expand(2, count)
    views = [model.opening(documents, null) for null in (False, True)]
    drawing = Drawing(layout, views, weights, sampling)
    *_, last = drive.draw(model, drawing, Seeded(list(range(count))))
    return last.steps


def watched(model: ImageModel) -> Stopwatch:
    """A stopwatch on the parts of a model that take part in a step."""
    watch = Stopwatch()
    watch.watch("transformer", FusedStack, "__call__")
    watch.watch("head: sample", model.picture.head, "sample")
    watch.watch("head: enter", model.picture.head, "enter")
    return watch


def operations(model: ImageModel, count: int, sampling: Sampling) -> str:
    """The operations that take the most time of a drawing, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        draw(model, count, sampling)
    return profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=25)


@torch.no_grad()
def main() -> None:
    parser = arguments(__doc__.splitlines()[0], rounds=7)
    parser.add_argument("--count", type=int, default=1, help="pictures at once")
    parser.add_argument("--temperature", type=float, default=0.7, help="of the sampling")
    parser.add_argument("--top-p", type=float, default=1.0, help="of the sampling")
    parser.add_argument("--usual", action="store_true", help="leave matrices in the order in which they are trained")
    parser.add_argument("--operations", action="store_true", help="print the operations that take the most time")
    chosen = parser.parse_args()
    use_threads(chosen.threads)
    torch.manual_seed(0)
    sampling = Sampling(chosen.temperature, top_p=chosen.top_p)
    model = load("emoji-64").model.build().eval()
    if not chosen.usual:
        pack_matrices(model)
    if chosen.operations:
        return print(operations(model, chosen.count, sampling))
    clock = time.process_time if chosen.cpu else time.perf_counter
    draw(model, chosen.count, sampling)
    seconds = []
    for _ in range(chosen.rounds):
        started = clock()
        steps = draw(model, chosen.count, sampling)
        seconds.append(clock() - started)
    watch = watched(model)
    draw(model, chosen.count, sampling)
    weights = [p for p in [*model.transformer.parameters(), *model.picture.head.parameters()]]
    floor = 4 * sum(p.numel() for p in weights) / bandwidth()
    step = statistics.median(seconds) / steps
    share = {name: value / sum(watch.seconds.values()) for name, value in watch.seconds.items()}
    figures = {"count": chosen.count, "steps": steps, "ms_a_step": 1000 * step, "floor_ms": 1000 * floor}
    figures["share"] = share
    rows = [["a picture, ms", 1000 * step * steps], ["a step, ms", 1000 * step], ["floor of a step, ms", 1000 * floor]]
    rows += [[f"  {name}, % of the parts", 100 * value] for name, value in share.items()]
    show(chosen, figures, [table(f"{chosen.count} pictures, two views, {chosen.threads} threads", ["", ""], rows)])


if __name__ == "__main__":
    sys.exit(main())
