"""The networks of LlamaGen's VQ-16 against the same rewritten module by module, with random weights."""

import argparse
import sys
from collections.abc import Callable

import torch
from side_by_side import arguments, show, table, take_turns, use_threads
from torch import Tensor, nn

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


def main() -> None:
    parser = arguments(__doc__ or "", rounds=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="pictures at once")
    parser.add_argument(
        "--apart", action="store_true", help="also the reference with one of kiloword's optimisations each"
    )
    options = parser.parse_args()
    use_threads(options.threads)
    torch.manual_seed(0)
    compare(options)


if __name__ == "__main__":
    sys.exit(main())
