"""kiloword's quantizers against `vector-quantize-pytorch`: forward and backward passes, and the memory of a search.

The library: github.com/lucidrains/vector-quantize-pytorch (pip install 'kiloword[benchmark]').
"""

import resource
from collections.abc import Callable

import torch
from side_by_side import arguments, show, table, take_turns, use_threads
from torch import Tensor, nn
from vector_quantize_pytorch import FSQ, LFQ, ResidualVQ, VectorQuantize

from kiloword.tokenizers.bsq import BSQConfig
from kiloword.tokenizers.fsq import FSQConfig
from kiloword.tokenizers.nearest_code import nearest
from kiloword.tokenizers.rq import RQConfig
from kiloword.tokenizers.vq import VQConfig
from kiloword.tokens import Layout

LEVELS = (8, 8, 8, 5, 5)
SIZE, DEPTH, BITS = 16384, 4, 14


def pairs() -> dict[str, tuple[nn.Module, nn.Module]]:
    """kiloword's and the library's of each kind, in training, with the same sizes."""
    picture = {"accept_image_fmap": True}
    return {
        "vq 16384x8, codes of length 1": (
            VQConfig(SIZE, 8, learning="mean").build(),
            VectorQuantize(dim=8, codebook_size=SIZE, use_cosine_sim=True, **picture),
        ),
        "vq 16384x8, running means": (
            VQConfig(SIZE, 8, normalised=False, learning="mean").build(),
            VectorQuantize(dim=8, codebook_size=SIZE, **picture),
        ),
        "residual vq 4x1024x32": (
            RQConfig(VQConfig(1024, 32, normalised=False, learning="mean"), DEPTH, shared=False).build(),
            ResidualVQ(dim=32, codebook_size=1024, num_quantizers=DEPTH),
        ),
        "fsq 8.8.8.5.5": (FSQConfig(LEVELS).build(), FSQ(list(LEVELS), channel_first=True)),
        "bsq, lfq 14 bits": (
            BSQConfig(BITS).build(),
            LFQ(codebook_size=2**BITS, dim=BITS, spherical=True, entropy_loss_weight=0.1),
        ),
    }  # fmt: skip


def step(quantizer: nn.Module, latent: Tensor) -> Callable[[], None]:
    """One forward and backward pass."""
    layout = Layout(((latent.shape[2], latent.shape[3]),))

    def candidate_step() -> None:
        result = quantizer.quantize(latent, layout)
        (result.latent.square().sum() + sum(result.losses.values())).backward()

    def reference_step() -> None:
        result = quantizer(latent.flatten(2).mT if isinstance(quantizer, ResidualVQ) else latent)
        value, loss = result[0], result[-1] if len(result) > 2 else torch.zeros(())
        (value.square().sum() + loss.sum()).backward()

    return candidate_step if hasattr(quantizer, "lookup") else reference_step


def peak() -> float:
    """The peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = arguments(__doc__ or "", rounds=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="pictures at once")
    parser.add_argument("--grid", type=int, default=16, help="tokens a side")
    options = parser.parse_args()
    use_threads(options.threads)
    torch.manual_seed(0)
    before = peak()
    with torch.inference_mode():
        nearest(torch.randn(1024 * 1024, 8), torch.randn(SIZE, 8))
    memory = peak() - before
    rows, figures = [], {"threads": options.threads, "search_1024x1024_peak_mb": memory}
    for name, (candidate, reference) in pairs().items():
        for batch in options.batches:
            latent = torch.randn(batch, candidate.encoder_channels, options.grid, options.grid, requires_grad=True)
            rivals = {"kiloword": step(candidate.train(), latent), "reference": step(reference.train(), latent)}
            seconds = take_turns(rivals, options.rounds, options.cpu)
            ratio = seconds["reference"] / seconds["kiloword"]
            rows.append([f"{name}, batch {batch}", 1000 * seconds["kiloword"], 1000 * seconds["reference"], ratio])
            figures[f"{name}, batch {batch}"] = {**seconds, "ratio": ratio}
    title = f"forward and backward over {options.grid}x{options.grid} tokens, {options.threads} threads"
    search = (
        f"searching {SIZE} codes for 1024x1024 vectors: {memory:.0f} MB more at the peak (all distances: 68,719 MB)"
    )
    show(
        options, figures, [table(title, ["quantizer", "kiloword, ms", "reference, ms", "times as fast"], rows), search]
    )


if __name__ == "__main__":
    main()
