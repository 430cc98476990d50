"""The diffusion decoder: what each setting costs, and kiloword's loop against diffusers' around the same network.

Network calls and seconds a picture; then `DiffusionDecoder.decode_steps` (one group, Euler) against diffusers'
FlowMatchEulerDiscreteScheduler with the same noise and the same levels, which must end at the same picture; what is
saved by computing only patches that have begun; and the peak memory of a new process.
"""

import argparse
import sys
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from side_by_side import arguments, show, table, take_turns, use_threads
from torch import Tensor

from kiloword import checkpoint
from kiloword.decoders.decoder import DecodeStep, Effort
from kiloword.decoders.denoiser import places
from kiloword.decoders.diffusion_decoder import DiffusionDecoder
from kiloword.noise import Seeded
from kiloword.recipes import registry
from kiloword.recipes.decoders import decoder_config
from kiloword.tokens import Layout

EFFORTS = {
    "1 step": Effort(1),
    **{f"{steps} steps": Effort(steps) for steps in (2, 4, 8, 16)},
    "8 steps, heun": Effort(8, solver="heun"),
    "8 steps, ddim": Effort(8, solver="ddim"),
    "4 steps, guidance 2": Effort(4, guidance=2.0),
    "4 steps, 4 frequency groups": Effort(4, 4, 1.0, "frequency"),
    "4 steps, 4 groups, overlap 1/4": Effort(4, 4, 0.25),
    "4 steps, 4 groups, overlap 1": Effort(4, 4, 1.0),
    "4 steps, 16 groups, overlap 1/4": Effort(4, 16, 0.25),
    "4 steps, 16 groups, overlap 1": Effort(4, 16, 1.0),
}
EQUAL = 1e-4  # how far rivals' pixels may be apart


class Bench:
    """A decoder and the tokens of pictures to decode; the noise is the same every time."""

    def __init__(self, decoder: DiffusionDecoder, layout: Layout, tokens: Tensor):
        self.decoder, self.layout, self.tokens = decoder.eval(), layout, tokens
        self.known = torch.ones(tokens.shape[:2], dtype=torch.bool)
        self.pictures = torch.arange(len(tokens))

    @property
    def noise(self) -> Seeded:
        return Seeded(self.pictures.tolist())

    def candidate(self, effort: Effort) -> Tensor:
        return self.last(effort).pixels

    def last(self, effort: Effort) -> DecodeStep:
        steps = self.decoder.decode_steps(self.tokens, self.layout, self.known, effort, self.noise, self.pictures)
        return deque(steps, maxlen=1).pop()

    def diffusers(self, steps: int) -> Tensor:
        """The loop of a pipeline of diffusers: set the levels, call the network, let the scheduler step."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        net, (h, w) = self.decoder.denoiser, self.decoder.denoiser.grid(self.layout)
        scheduler = FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)])
        (guide,) = self.decoder.guides(self.tokens, self.layout, self.known)
        x = net.pure(self.noise.normal((h * w, net.patches.dim), self.pictures), guide)
        grid = places(h, w).expand(len(x), -1, -1)
        for step, time in enumerate(scheduler.timesteps):
            level = (time / scheduler.config.num_train_timesteps).expand(len(x), 1, net.patches.bands)
            to = scheduler.sigmas[step + 1].expand_as(level)
            velocity = (x - self.decoder.heads_for(x, level, to, guide, grid)) / net.patches.spread(level)
            x = scheduler.step(velocity, time, x, return_dict=False)[0]
        return net.patches.join(x, h)

    def everything(self, effort: Effort) -> Tensor:
        """Groups one after the other as in kiloword's loop, but with all patches through the network in every call."""
        net, (h, w) = self.decoder.denoiser, self.decoder.denoiser.grid(self.layout)
        schedule = self.decoder.plan(self.layout, effort)
        (guide,) = self.decoder.guides(self.tokens, self.layout, self.known)
        x = net.pure(self.noise.normal((h * w, net.patches.dim), self.pictures), guide)
        grid = places(h, w).expand(len(x), -1, -1)
        for step in range(schedule.steps):
            level, to = (
                schedule.level(moment).float().view(1, h * w, -1).expand(len(x), -1, -1) for moment in (step, step + 1)
            )
            clean = self.decoder.heads_for(x, level, to, guide, grid, (to < 1).any(-1))
            a, b = net.patches.spread(level), net.patches.spread(to)
            x = torch.where(a > b, x + (b - a) * (x - clean) / a.clamp(min=1e-9), x)
        return net.patches.join(x, h)


def bench_of(model: str | None, count: int) -> Bench:
    """A model's decoder, or one of decoder-128's size with random weights, and tokens of random pictures."""
    torch.manual_seed(0)
    painter = checkpoint.load(model or "emoji-64")
    tokenizer, decoder = painter.model.picture.tokenizer, painter.model.decoder
    if model is None:
        decoder = decoder_config(registry.load("decoder-128"), tokenizer).build()
        decoder.work_from(tokenizer)
    if not isinstance(decoder, DiffusionDecoder):
        raise SystemExit(f"{model} has no diffusion decoder: name another --model, or none for random weights")
    height, width = painter.read_size(painter.card.sizes[0])
    layout = tokenizer.layout(height, width)
    pixels = torch.rand(count, tokenizer.channels, height, width) * 2 - 1
    return Bench(decoder, layout, tokenizer.encode(pixels, layout).shown)


def settings(options: argparse.Namespace) -> tuple[dict, str]:
    """Calls and seconds a picture of every setting at every batch."""
    figures, heads = {}, ["", "calls", "patches computed"]
    for count in options.batches:
        bench = bench_of(options.model, count)
        efforts = {name: effort for name, effort in EFFORTS.items() if legal(bench, effort)}
        ways = {name: partial(bench.candidate, effort) for name, effort in efforts.items()}
        seconds = take_turns(ways, options.rounds, options.cpu)
        heads.append(f"batch {count}, s a picture")
        for name, effort in efforts.items():
            with counted(bench.decoder) as computed:
                calls = bench.last(effort).calls
            found = figures.setdefault(name, {"calls": calls, "patches": sum(computed)})
            found[f"batch {count}"] = seconds[name] / count
    rows = [[name, *found.values()] for name, found in figures.items()]
    return figures, table(f"A picture; {options.threads} threads", heads, rows)


def rivals(options: argparse.Namespace) -> tuple[dict, str]:
    """kiloword's loop against diffusers' at every batch: how far apart their pixels are, and seconds a picture."""
    figures, rows = {}, []
    for count in options.batches:
        bench = bench_of(options.model, count)
        for steps in options.steps:
            effort = Effort(steps)
            apart = differ(bench.candidate(effort), bench.diffusers(steps), f"diffusers' loop of {steps} steps")
            ways = {"kiloword": partial(bench.candidate, effort), "reference": partial(bench.diffusers, steps)}
            seconds = take_turns(ways, options.rounds, options.cpu)
            found = {"apart": apart, **{name: value / count for name, value in seconds.items()}}
            found["ratio"] = seconds["reference"] / seconds["kiloword"]
            figures[f"batch {count}, {steps} steps"] = found
            rows.append([f"batch {count}, {steps} steps", f"{apart:.0e}", *list(found.values())[1:]])
    head = ["", "pixels apart", "kiloword, s a picture", "reference, s a picture", "times as fast"]
    return figures, table("kiloword's loop against diffusers'", head, rows)


def saving(options: argparse.Namespace) -> tuple[dict, str]:
    """16 groups one after the other: only patches that have begun computed, against all patches in every call."""
    figures, rows = {}, []
    effort = Effort(4, 16, 1.0)
    for count in options.batches:
        bench = bench_of(options.model, count)
        if not legal(bench, effort):
            continue
        apart = differ(bench.candidate(effort), bench.everything(effort), "computing all patches")
        computed = {}
        for name, rival in (("kiloword", bench.candidate), ("all", bench.everything)):
            with counted(bench.decoder) as patches:
                rival(effort)
            computed[name] = sum(patches)
        ways = {"kiloword": partial(bench.candidate, effort), "all": partial(bench.everything, effort)}
        seconds = take_turns(ways, options.rounds, options.cpu)
        found = {
            "apart": apart,
            "patches": computed,
            "seconds": {name: value / count for name, value in seconds.items()},
        }
        figures[f"batch {count}"] = found
        share, ratio = computed["kiloword"] / computed["all"], seconds["all"] / seconds["kiloword"]
        rows.append([f"batch {count}", *computed.values(), f"{share:.0%}", *found["seconds"].values(), ratio])
    head = ["", "patches computed", "all", "share", "s a picture", "all", "times as fast"]
    return figures, table("4 steps, 16 groups, overlap 1: the work of the network", head, rows)


def memory(options: argparse.Namespace) -> tuple[dict, str]:
    """For each batch, the peak of a new process and how much of it came with 4 steps of decoding."""
    figures, rows = {}, []
    for count in options.memory:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            rest, peak = pool.submit(peaks, options.model, count, options.threads).result()
        figures[f"batch {count}"] = {"peak_mb": peak, "decoding_mb": peak - rest}
        rows.append([f"batch {count}", peak, peak - rest])
    return figures, table("Peak memory", ["", "MB", "of it decoding"], rows)


@torch.no_grad()
def peaks(model: str | None, count: int, threads: int) -> tuple[float, float]:
    """The peak memory of this process before and after decoding, in MB."""
    use_threads(threads)
    bench = bench_of(model, count)
    rest = held()
    bench.candidate(Effort(4))
    return rest, held()


def held() -> float:
    """The peak memory of this program in MB; that of its parent before does not count."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


def legal(bench: Bench, effort: Effort) -> bool:
    """Whether the decoder's patches divide into such groups."""
    try:
        bench.decoder.plan(bench.layout, effort)
    except ValueError:
        return False
    return True


def differ(candidate: Tensor, reference: Tensor, what: str) -> float:
    """The largest difference of two pictures' pixels, which must be small."""
    apart = float((candidate - reference).abs().max())
    if apart > EQUAL:
        raise SystemExit(f"{what} ends at other pictures: pixels are {apart:.1e} apart, {EQUAL:.0e} are allowed")
    return apart


@contextmanager
def counted(decoder: DiffusionDecoder):
    """A list of how many patches of a picture went through the network, call by call."""
    computed: list[int] = []
    hook = decoder.denoiser.register_forward_pre_hook(lambda net, given: computed.append(given[0].shape[1]))
    try:
        yield computed
    finally:
        hook.remove()


@torch.no_grad()
def main() -> None:
    parser = arguments(__doc__.splitlines()[0], rounds=3)
    parser.add_argument("--model", help="a model with a diffusion decoder (none: random weights, decoder-128's size)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="pictures at once")
    parser.add_argument("--steps", type=int, nargs="*", default=[4, 16], help="against diffusers (none: not)")
    parser.add_argument("--memory", type=int, nargs="*", default=[1, 16], help="pictures at once (none: not measured)")
    options = parser.parse_args()
    use_threads(options.threads)
    parts = [("settings", settings, True), ("loop", rivals, options.steps), ("saving", saving, True)]
    parts.append(("memory", memory, options.memory))
    found = {name: part(options) for name, part, wanted in parts if wanted}
    show(options, {name: figures for name, (figures, _) in found.items()}, [text for _, text in found.values()])


if __name__ == "__main__":
    sys.exit(main())
