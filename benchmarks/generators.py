"""Whole drawings by kiloword's engine against the published loops, rewritten plainly, with the same weights.

LlamaGen, Image GPT, VAR, MAR and Infinity in their published shapes at small sizes, with random weights: first whether
both draw the same, then how fast, how the cost of a token grows with the picture, and how memory grows with the batch
(the peak of a new process each, as Linux counts it). The rivals are `plain_*.py`; decoding to pixels is left out on
both sides.
"""

import argparse
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from plain_igpt import PlainImageGPT
from plain_infinity import PlainInfinity
from plain_llamagen import PlainLlamaGen
from plain_mar import PlainMAR
from plain_var import PlainVAR
from side_by_side import arguments, show, table, take_turns, use_threads
from torch import Tensor, nn

from kiloword.document import to_draw
from kiloword.drawing import Drawing
from kiloword.engine.cpu.packed_linear import pack_matrices
from kiloword.engine.drive import draw
from kiloword.engine.guidance import GuidanceConfig
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded
from kiloword.published import page
from kiloword.published.infinity_vae import schedules
from kiloword.published.page import fill
from kiloword.tokens import Layout

CLASSES, SIDES = 1000, (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
TEXT_LENGTH, CHANNELS, BITS = 32, 512, 32  # of Infinity's texts (positions, channels) and tokens


@dataclass(frozen=True)
class Size:
    """Of all systems; those of MAR are a third narrower and have two stacks of `depth` * 2 / 3 blocks."""

    width: int = 384
    depth: int = 6
    side: int = 16
    codes: int = 4096
    steps: int = 16
    diffusion: int = 20

    @property
    def heads(self) -> int:
        return max(1, self.width // 64)


class SharedNoise:
    """The same noise for both sides: orders, and for each draw one table, of which each uses its first rows."""

    def __init__(self, count: int, pictures: int, channels: int):
        self.generator = torch.Generator().manual_seed(0)
        self.uniforms = torch.rand(pictures, count, generator=self.generator)
        self.shape = (2 * pictures * count, channels)

    def uniform(self, shape: tuple[int, ...], pictures: Tensor) -> Tensor:
        return self.uniforms[pictures]

    def normal(self, shape: tuple[int, ...], pictures: Tensor) -> Tensor:
        return self.draw(len(pictures) * shape[0], shape[1]).view(len(pictures), *shape)

    def draw(self, rows: int, channels: int) -> Tensor:
        return torch.randn(self.shape, generator=self.generator)[:rows]


def classes(count: int) -> list[int]:
    return [number % CLASSES for number in range(count)]


def texts(count: int) -> list[Tensor]:
    """Features of as many texts."""
    return list(torch.randn(count, TEXT_LENGTH, CHANNELS, generator=torch.Generator().manual_seed(0)))


@dataclass(frozen=True)
class System:
    """A published system at some size: the authors' arguments, and how kiloword and the reference draw with it.

    `extra` are weights that the page needs and the plain loop does not. The last argument of `reference` is the noise
    of a check, in which the likeliest ids are taken, or the noise is the same on both sides.
    """

    page: str
    arguments: dict[str, Any]
    plain: Callable[[dict[str, Any]], nn.Module]
    reference: Callable[[Any, int, SharedNoise | None], Iterator[Tensor]]
    layout: Layout
    sampling: Sampling
    guidance: float = 1.0
    course: str = "constant"
    steps: int | None = None
    extra: tuple[tuple[str, tuple[int, ...]], ...] = ()
    ask: Callable[[int], list] = classes

    def model(self) -> ImageModel:
        """kiloword's model, with random weights."""
        return page(self.page).parts(self.arguments).build().eval()

    def pair(self) -> tuple[ImageModel, nn.Module]:
        """kiloword's model with the reference's weights, and the reference."""
        plain = self.plain(self.arguments).eval()
        model, extra = self.model(), {name: torch.randn(shape) for name, shape in self.extra}
        fill(page(self.page), page(self.page).parts(self.arguments), model, {**plain.state_dict(), **extra})
        pack_matrices(model)
        return model, plain

    def candidate(self, model: ImageModel, count: int, shared: SharedNoise | None = None) -> Iterator[Tensor]:
        """kiloword's tokens of the whole picture after every step."""
        prompts = [None] * count if self.guidance == 1 else self.ask(count)
        documents, noise = to_draw(prompts, self.layout), shared or Seeded(list(range(count)))
        sampling = self.sampling if shared is None or self.steps else Sampling(temperature=0)
        views, weights = [model.opening(documents)], torch.ones(1, count)
        if self.guidance != 1:
            schedule = model.picture.order.schedule(self.layout, count, self.steps, Seeded([0] * count))
            views.append(model.opening(documents, null=True))
            weights = GuidanceConfig(self.course).weights(self.guidance, schedule)
        drawing = Drawing(self.layout, views, weights, sampling, steps=self.steps)
        return (progress.tokens for progress in draw(model, drawing, noise))


def llamagen(size: Size) -> System:
    settings = {
        "dim": size.width, "n_layer": size.depth, "n_head": size.heads, "multiple_of": 256, "vocab_size": size.codes,
        "block_size": size.side**2, "num_classes": CLASSES,
    }  # fmt: skip
    sampling = Sampling(top_k=min(2000, size.codes // 2))

    def reference(plain: PlainLlamaGen, count: int, shared: SharedNoise | None) -> Iterator[Tensor]:
        return plain.draw(list(range(count)), 4.0, top_k=sampling.top_k, likeliest=shared is not None)

    return System("llamagen", settings, PlainLlamaGen, reference, square(size.side), sampling, guidance=4.0)


def igpt(size: Size) -> System:
    settings = {
        "n_positions": size.side**2, "vocab_size": 513, "n_embd": size.width, "n_layer": size.depth,
        "n_head": size.heads,
    }  # fmt: skip

    def reference(plain: PlainImageGPT, count: int, shared: SharedNoise | None) -> Iterator[Tensor]:
        return plain.draw(count, likeliest=shared is not None)

    extra = (("clusters", (512, 3)),)
    return System("igpt", settings, PlainImageGPT, reference, square(size.side), Sampling(), extra=extra)


def var(size: Size) -> System:
    sides = (*(side for side in SIDES if side < size.side), size.side)
    settings = {
        "V": size.codes, "Cvae": 32, "num_classes": CLASSES, "depth": size.depth, "embed_dim": size.width,
        "num_heads": size.heads, "patch_nums": sides, "attn_l2_norm": True,
    }  # fmt: skip
    sampling = Sampling(top_k=min(900, size.codes // 2), top_p=0.96)

    def reference(plain: PlainVAR, count: int, shared: SharedNoise | None) -> Iterator[Tensor]:
        return plain.draw(list(range(count)), 1.5, sampling.top_k, sampling.top_p, likeliest=shared is not None)

    layout = Layout(tuple((side, side) for side in sides))
    return System("var", settings, PlainVAR, reference, layout, sampling, guidance=2.5, course="ramp")


def mar(size: Size) -> System:
    width, depth = max(64, size.width * 2 // 3), max(1, size.depth * 2 // 3)
    settings = {
        "img_size": 16 * size.side, "vae_stride": 16, "patch_size": 1, "vae_embed_dim": 16, "class_num": CLASSES,
        "buffer_size": 64, "num_sampling_steps": str(size.diffusion), "diffusion_batch_mul": 4, "diffloss_d": 3,
        "diffloss_w": width, "encoder_embed_dim": width, "decoder_embed_dim": width, "encoder_depth": depth,
        "decoder_depth": depth, "encoder_num_heads": width // 64, "decoder_num_heads": width // 64,
    }  # fmt: skip

    def reference(plain: PlainMAR, count: int, shared: SharedNoise | None) -> Iterator[Tensor]:
        given = {} if shared is None else {"orders": shared.uniforms.argsort(1), "draw": shared.draw}
        return plain.draw(list(range(count)), size.steps, 2.9, **given)

    return System(
        "mar", settings, PlainMAR, reference, square(size.side), Sampling(), guidance=2.9, course="known",
        steps=size.steps,
    )  # fmt: skip


def infinity(size: Size) -> System:
    settings = {
        "embed_dim": size.width, "depth": size.depth, "num_heads": size.heads, "text_channels": CHANNELS,
        "text_maxlen": 2 * TEXT_LENGTH, "d_vae_codebook_dim": BITS,
    }  # fmt: skip
    square = next(grids for grids in schedules() if all(rows == columns for rows, columns in grids))
    grids = (*(grid for grid in square if grid[0] < size.side), (size.side, size.side))
    layout = Layout(grids, square[-1])

    def reference(plain: PlainInfinity, count: int, shared: SharedNoise | None) -> Iterator[Tensor]:
        return plain.draw(texts(count), grids, square[-1], 4.0, top_p=0.97, likeliest=shared is not None)

    return System(
        "infinity", settings, PlainInfinity, reference, layout, Sampling(top_k=900, top_p=0.97), guidance=4.0, ask=texts
    )


SYSTEMS: dict[str, Callable[[Size], System]] = {
    "llamagen": llamagen, "igpt": igpt, "var": var, "mar": mar, "infinity": infinity,
}  # fmt: skip


def square(side: int) -> Layout:
    return Layout(((side, side),))


def finished(steps: Iterator[Tensor]) -> Tensor:
    """The last step."""
    return deque(steps, maxlen=1)[0]


def same(system: System, model: ImageModel, plain: nn.Module, count: int) -> str:
    """How many of the likeliest ids are equal; of vectors, drawn by the same noise, the relative difference."""
    shared = [SharedNoise(system.layout.count, count, system.arguments.get("vae_embed_dim", 1)) for _ in range(2)]
    drawn = finished(system.candidate(model, count, shared[0]))
    steps = list(system.reference(plain, count, shared[1]))
    if drawn.is_floating_point():
        return f"{float((drawn - steps[-1]).norm() / drawn.norm()):.1e}"
    equal = drawn == torch.cat(steps, dim=1)
    return f"{int(equal.sum())}/{equal.numel()}"


def race(system: System, model: ImageModel, plain: nn.Module, count: int, options: argparse.Namespace) -> dict:
    """Seconds a drawing."""
    return take_turns({
        "kiloword": lambda: finished(system.candidate(model, count)),
        "reference": lambda: finished(system.reference(plain, count, None)),
    }, options.rounds, options.cpu)  # fmt: skip


def compare(options: argparse.Namespace, size: Size) -> tuple[dict, str]:
    """All systems at all batches."""
    figures, rows = {}, []
    for name in options.systems:
        system = SYSTEMS[name](size)
        model, plain = system.pair()
        for count in options.batches:
            equal, seconds = same(system, model, plain, count), race(system, model, plain, count, options)
            found = {"same": equal, **seconds, "ratio": seconds["reference"] / seconds["kiloword"]}
            found["kiloword_tokens_s"] = count * system.layout.count / seconds["kiloword"]
            figures[f"{name}, batch {count}"] = found
            rows.append([f"{name}, batch {count}", *found.values()])
    head = ["", "same tokens", "kiloword, s", "reference, s", "times as fast", "kiloword, tokens/s"]
    return figures, table(f"A drawing; {size}, {options.threads} threads", head, rows)


def lengths(options: argparse.Namespace, size: Size) -> tuple[dict, str]:
    """Milliseconds a token of pictures of growing sides, drawn token by token, batch 1."""
    figures, rows = {}, []
    for side in options.sides:
        system = llamagen(Size(**{**vars(size), "side": side}))
        model, plain = system.pair()
        ms = {way: 1000 * s / side**2 for way, s in race(system, model, plain, 1, options).items()}
        figures[side**2] = ms
        rows.append([f"{side}x{side}, {side**2} tokens", *ms.values(), ms["reference"] / ms["kiloword"]])
    return figures, table("llamagen, cost of a token", ["", "kiloword, ms", "reference, ms", "times as fast"], rows)


def memory(options: argparse.Namespace, size: Size) -> tuple[dict, str]:
    """For each batch, the peak of a new process and how much of it came with the drawing."""
    figures, rows = {}, []
    for name in options.systems:
        for count in options.memory:
            found = {}
            for rival in ("kiloword", "reference"):
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    rest, peak = pool.submit(peaks, name, rival, count, size, options.threads).result()
                found |= {f"{rival}_peak_mb": peak, f"{rival}_drawing_mb": peak - rest}
            figures[f"{name}, batch {count}"] = found
            rows.append([f"{name}, batch {count}", *found.values()])
    head = ["", "kiloword, MB", "of it drawing", "reference, MB", "of it drawing"]
    return figures, table("Peak memory", head, rows)


@torch.no_grad()
def peaks(name: str, rival: str, count: int, size: Size, threads: int) -> tuple[float, float]:
    """The peak memory of this process before and after a drawing, in MB."""
    use_threads(threads)
    system = SYSTEMS[name](size)
    drawer = system.model() if rival == "kiloword" else system.plain(system.arguments).eval()
    rest = held()
    finished(system.candidate(drawer, count) if rival == "kiloword" else system.reference(drawer, count, None))
    return rest, held()


def held() -> float:
    """The peak memory of this program in MB; that of its parent before does not count."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


@torch.no_grad()
def main() -> None:
    parser = arguments(__doc__.splitlines()[0], rounds=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="which of them")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="pictures at once")
    parser.add_argument("--sides", type=int, nargs="*", default=[8, 16, 24], help="for the cost of a token (none: not)")
    parser.add_argument("--memory", type=int, nargs="*", default=[1, 8], help="pictures at once (none: not measured)")
    for name, value in vars(Size()).items():
        parser.add_argument(f"--{name}", type=int, default=value, help="of the models")
    options = parser.parse_args()
    size = Size(**{name: getattr(options, name) for name in vars(Size())})
    use_threads(options.threads)
    torch.manual_seed(0)
    parts = [("drawings", compare, True), ("lengths", lengths, options.sides), ("memory", memory, options.memory)]
    found = {name: part(options, size) for name, part, wanted in parts if wanted}
    show(options, {name: figures for name, (figures, _) in found.items()}, [text for _, text in found.values()])


if __name__ == "__main__":
    sys.exit(main())
