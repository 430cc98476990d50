"""The networks of LlamaGen's VQ-16 against the same rewritten module by module, and a large picture in tiles.

Weights are random. `--tiled 2048` instead decodes one picture of that side and says how long it took and the peak
memory of the process; with `--untiled` the picture is decoded in one piece after that, and compared.
"""

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable

import torch
from kiloword.engine.tiles import Tiling, cover, decode_tiled
from side_by_side import arguments, show, table, take_turns, use_threads
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kiloword.published import page
from kiloword.tokenizers.cnn import Attention, Block, CNNDecoder, CNNEncoder, Double, Halve
from kiloword.tokens import Layout

PIXELS, GRID = 256, 16
SYSTEM = page("llamagen-vq")


class Beside(nn.Module):
    """A path beside a shortcut."""

    def __init__(self, path: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.path, self.shortcut = path, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.path(x)


class Pairs(nn.Module):
    """Attention by a matrix of all pairs of positions."""

    def __init__(self, source: Attention):
        super().__init__()
        self.norm, self.qkv, self.out = source.norm, source.qkv, source.out

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)
        share = torch.bmm(q.mT, k).mul(q.shape[1] ** -0.5).softmax(2)
        return x + self.out(torch.bmm(v, share.mT).view_as(x))


def plain_modules(network: CNNEncoder | CNNDecoder, inplace: bool = False, doubled: bool = False) -> nn.Sequential:
    """A network as modules of torch.nn, with the same weights; each of two optimisations can be kept."""
    silu = nn.SiLU(inplace)

    def plain(step: nn.Module | Callable) -> nn.Module:
        match step:
            case Block():
                path = nn.Sequential(step.norm1, silu, step.conv1, step.norm2, silu, step.conv2)
                return Beside(path, step.shortcut)
            case Attention():
                return Pairs(step)
            case Halve():
                return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), step.conv)
            case Double() if not doubled:
                return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), step.conv)
            case nn.Module():
                return step
        return nn.Sequential(network.norm, silu, network.leave)  # the one step that is a method

    return nn.Sequential(*map(plain, network.steps))


def ways(network: CNNEncoder | CNNDecoder, x: Tensor, apart: bool) -> dict[str, Callable[[], Tensor]]:
    """kiloword and the reference; with `apart` also the reference with one of kiloword's optimisations each."""
    layout, reference = Layout(((GRID, GRID),)), plain_modules(network)
    found = {"reference": lambda: reference(x), "kiloword": lambda: network(x, layout)}
    if apart:
        last = x.contiguous(memory_format=torch.channels_last)
        inplace, doubled = plain_modules(network, inplace=True), plain_modules(network, doubled=True)
        found["  reference with channels last"] = lambda: reference(last)
        found["  reference with SiLU in place"] = lambda: inplace(x)
        found["  reference with doubling in one"] = lambda: doubled(x)
    return found


@torch.inference_mode()
def compare(options: argparse.Namespace) -> None:
    """Encode and decode pictures of 256x256."""
    system, rows, figures = SYSTEM.parts(SYSTEM.variants["16"].arguments).build().eval(), [], {}
    for batch in options.batches:
        pixels, latent = torch.rand(batch, 3, PIXELS, PIXELS) * 2 - 1, torch.randn(batch, 8, GRID, GRID)
        for name, network, x in (("encode", system.encoder, pixels), ("decode", system.decoder, latent)):
            rivals = ways(network, x, options.apart)
            reference = rivals["reference"]()
            error = float((rivals["kiloword"]() - reference).norm() / reference.norm())
            seconds = take_turns(rivals, options.rounds, options.cpu)
            rows += [[f"{name}, batch {batch}: {way}", s, seconds["reference"] / s] for way, s in seconds.items()]
            ratio = seconds["reference"] / seconds["kiloword"]
            figures[f"{name}, batch {batch}"] = {**seconds, "ratio": ratio, "error": error}
            rows.append(["  relative difference", error, ""])
    title = f"VQ-16 at {PIXELS}x{PIXELS}, {options.threads} threads"
    show(options, figures, [table(title, ["", "s", "times as fast"], rows)])


@torch.inference_mode()
def large(options: argparse.Namespace) -> None:
    """Decode one large picture in tiles."""
    system, side = SYSTEM.parts(SYSTEM.variants["16"].arguments).build().eval(), options.tiled
    layout = system.layout(side, side)
    clouds = interpolate(torch.randn(1, 8, 5, 5), layout.sizes[0], mode="bicubic")
    tokens = system.quantizer.quantize(clouds + 0.2 * torch.randn_like(clouds), layout).target
    tiling = Tiling(options.side, options.overlap, options.measured, options.whole)
    started, worked = time.perf_counter(), time.process_time()
    tiled = decode_tiled(system, tokens, layout, tiling=tiling, progress=report)
    print(file=sys.stderr)
    figures = {"s": time.perf_counter() - started, "processor s": time.process_time() - worked, "peak, MB": peak()}
    if options.untiled:
        worked = time.process_time()
        error = tiled - system.decode(tokens, layout, torch.ones_like(tokens, dtype=torch.bool))
        figures |= {"in one piece, processor s": time.process_time() - worked, "in one piece, peak, MB": peak()}
        off = float(error.square().mean().sqrt())  # 0 where all steps are small enough to be run in one piece
        figures["PSNR of tiles against one piece, dB"] = 20 * math.log10(2 / off) if off else math.inf
        edges = torch.zeros(error.shape[3] - 1, dtype=torch.bool)
        starts = {tile.kept[1].start for tile in cover(layout.sizes[0], tiling)} - {0}
        edges[[system.stride * start - 1 for start in starts]] = True
        steps = error.diff(dim=3).square().mean((0, 1, 2))
        figures["step of the error across a seam"] = float(steps[edges].mean().sqrt())
        figures["the same elsewhere"] = float(steps[~edges].mean().sqrt())
    title = f"VQ-16, {side}x{side} pixels in tiles, {tiling}, {options.threads} threads"
    show(options, figures, [table(title, ["", ""], list(figures.items()))])


def report(what: str, done: int, total: int | None) -> None:
    print(f"\r{done}{f' of {total}' if total else ''} {what}     ", end="", file=sys.stderr, flush=True)


def peak() -> float:
    """The peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = arguments(__doc__ or "", rounds=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="pictures at once")
    parser.add_argument(
        "--apart", action="store_true", help="also the reference with one of kiloword's optimisations each"
    )
    parser.add_argument(
        "--tiled", type=int, metavar="SIDE", help="decode one picture of so many pixels a side in tiles"
    )
    parser.add_argument("--untiled", action="store_true", help="and then in one piece, to compare")
    parser.add_argument("--side", type=int, default=Tiling.side, help="tokens a tile, of each side")
    parser.add_argument("--overlap", type=int, default=Tiling.overlap, help="tokens of context around it")
    parser.add_argument("--measured", type=float, default=Tiling.measured, help="share of a tile's side for the norms")
    parser.add_argument("--whole", type=int, default=Tiling.whole, help="numbers of a step that is run in one piece")
    options = parser.parse_args()
    use_threads(options.threads)
    torch.manual_seed(0)
    return large(options) if options.tiled else compare(options)


if __name__ == "__main__":
    sys.exit(main())
