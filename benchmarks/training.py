"""kiloword's training loop against a plain PyTorch loop over the same network and batches, in pictures a second.

The network is the shipped recipe's, the data are made up. The plain loops have neither a moving average of the weights
nor clipped gradients: `padded` is what one writes without packing, `packed` calls the same loss as kiloword's loop.
"""

import copy
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lightning_fabric import Fabric
from side_by_side import arguments, show, table, use_threads
from torch import Tensor

from kiloword.document import to_describe, to_draw, to_learn
from kiloword.model import ImageModel
from kiloword.opening import behind
from kiloword.recipes.registry import load
from kiloword.tokens import Layout
from kiloword.tokens.space import values_of
from kiloword.training.loop import Run, TrainingConfig
from kiloword.training.optimiser import AdamWConfig

WORDS = ["red", "green", "blue", "big", "small", "happy", "round", "apple", "pear", "house", "tree", "cat", "moon"]


class MadeUp:
    """A task of random tokens and random phrases, a fifth of them from picture to words."""

    def __init__(self, module: ImageModel, size: int = 512):
        self.module, self.size = module, size
        self.layout = module.picture.tokenizer.layout(64, 64)
        values = values_of(module.picture.tokenizer.space)
        self.tokens = (torch.rand(size, self.layout.count, len(values)) * values).long()
        generator = random.Random(0)
        self.phrases = [" ".join(generator.choices(WORDS, k=generator.randint(2, 6))) for _ in range(size)]
        for parameter in module.picture.tokenizer.parameters():
            parameter.requires_grad_(False)

    def choose(self, iteration: int, count: int) -> Tensor:
        return torch.randint(self.size, (count,), generator=torch.Generator().manual_seed(iteration))

    def loss(self, chosen: Tensor, done: float = 1.0, packed: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        tokens, phrases, few = self.tokens[chosen], [self.phrases[index] for index in chosen.tolist()], len(chosen) // 5
        if packed:
            documents = to_learn(phrases[few:], self.layout, tokens[few:])
            losses = self.module.loss([*documents, *to_describe(tokens[:few], self.layout, phrases[:few])])
            drawn, described = losses["picture"].mean(), losses["text"].mean()
        else:
            drawn, described = padded(
                self.module, self.layout, phrases[few:], tokens[few:], phrases[:few], tokens[:few]
            )
        return drawn / tokens.shape[-1] + described, {}

    def look(self, folder: Path, iteration: int) -> dict[str, float]:
        return {}


def padded(
    model: ImageModel, layout: Layout, prompts: list[str], target: Tensor, captions: list[str], pictures: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean losses of a model, its two directions one after the other, every sequence padded to the longest."""
    b, n, picture, text = len(target), layout.count, model.picture, model.text
    schedule = picture.order.training_schedule(layout, b, None)
    level, everything = picture.order.training_levels(schedule, None), torch.arange(n).expand(b, -1)
    span, memo = picture.drawn_span(
        picture.feed(target, schedule, level, everything, layout), schedule, schedule.start.long(), layout
    )
    hidden = model.transformer(behind(model.opening(to_draw(prompts, layout)), span, modulated=False))[:, -n:]
    drawn = picture.head.loss(hidden, target, memo, None).mean()  # raster order: all of them are predicted
    ids, present = text.encode(captions)
    opening, span = model.opening(to_describe(pictures, layout)), text.span(ids, present)
    hidden = model.transformer(behind(opening, span, modulated=False))[:, -ids.shape[1] :]
    described = (text.head.loss(hidden, ids, None, None) * present).sum() / present.sum()
    return drawn, described


def plain(task: MadeUp, batch: int, packed: bool) -> Callable[[int], None]:
    """One iteration of a plain PyTorch loop."""
    parameters = [p for p in task.module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    task.module.train()

    def iterate(iteration: int) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = task.loss(task.choose(iteration, batch), packed=packed)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return iterate


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], rounds=5)
    parser.add_argument("--batch", type=int, default=128, help="pictures an iteration")
    chosen = parser.parse_args()
    use_threads(chosen.threads)
    torch.manual_seed(0)
    task = MadeUp(load("emoji-64").model.build())
    rivals = {
        "plain, padded": plain(copy.deepcopy(task), chosen.batch, packed=False),
        "plain, packed": plain(copy.deepcopy(task), chosen.batch, packed=True),
    }
    seconds: dict[str, list[float]] = {"kiloword": [], **{name: [] for name in rivals}}
    clock = time.process_time if chosen.cpu else time.perf_counter
    last = [clock()]

    def turn(iteration: int, figures: dict[str, float]) -> None:
        """After each iteration of kiloword's loop, one of each rival."""
        seconds["kiloword"].append(clock() - last[0])
        for name, rival in rivals.items():
            started = clock()
            rival(iteration)
            seconds[name].append(clock() - started)
        print(f"\rround {iteration - 1} of {chosen.rounds}", end="", file=sys.stderr, flush=True)
        last[0] = clock()

    training = TrainingConfig(
        chosen.rounds + 1, chosen.batch, AdamWConfig(), save_every=10**9, look_every=0, log_every=1
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Run(task, training, Path(folder), Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")).train(turn)
    print(file=sys.stderr)
    rate = {name: chosen.batch / statistics.median(values[1:]) for name, values in seconds.items()}
    figures = {"pictures_s": rate, "ratio": {name: rate["kiloword"] / rate[name] for name in rivals}}
    rows = [[name, value, rate["kiloword"] / value] for name, value in rate.items()]
    title = f"training, batch {chosen.batch}, bf16 autocast, fused AdamW, {chosen.threads} threads"
    show(chosen, figures, [table(title, ["loop", "pictures/s", "kiloword / this"], rows)])


if __name__ == "__main__":
    sys.exit(main())
