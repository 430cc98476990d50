"""The figures of a trained tokenizer: similarity of reconstructions, bits, speed.

PSNR; Wang et al. 2004 (SSIM); Binkowski et al. 2018 (kernel distance), since Frechet distances are biased for so few
pictures; van den Oord et al. 2017 (perplexity of codes).
"""

import time
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kiloword.evaluation.codebook import codebook_use
from kiloword.evaluation.feature_spaces import SPACES, features
from kiloword.evaluation.image_set import to_bytes
from kiloword.evaluation.kernel_distance import KernelDistance, kernel_distance, scaled
from kiloword.evaluation.ssim import ssim
from kiloword.pixels import from_bytes, psnr
from kiloword.recipes.training_set import Pictures
from kiloword.tokenizers.autoencoder import Autoencoder
from kiloword.tokens import Layout, Vector
from kiloword.training.augmentation import shrink

# Axes: b n pictures, S pixels a side.

CHUNK = 128


def measure(tokenizer: Autoencoder, pictures: Pictures, side: int) -> dict[str, Any]:
    """All figures that don't depend on the machine; codes: over twice as many training pictures as held out.

    `bits` of continuous tokens are None, their `numbers` are not.
    """
    tokenizer.eval()
    layout = tokenizer.layout(side, side)
    held_out, learned = pictures.values[pictures.held_out], pictures.values[pictures.weights > 0]
    true = to_bytes(shrink(held_out, side))
    drawn = rebuilt(tokenizer, true)
    known = to_bytes(shrink(learned[: 2 * len(true)], side))
    tokens = torch.cat([encoded(tokenizer, batch, layout).cpu() for batch in known.split(CHUNK)])
    some = known[: len(true)]
    continuous = isinstance(tokenizer.space, Vector)
    use = codebook_use(tokens, tokenizer.space, tokenizer.groups)
    return {
        "psnr": float(psnr(from_bytes(drawn), from_bytes(true)).mean()),
        "psnr_learned": float(psnr(from_bytes(rebuilt(tokenizer, some)), from_bytes(some)).mean()),
        "ssim": float(ssim(from_bytes(drawn), from_bytes(true)).mean()),
        "kernel_distance": {space: asdict(distance_between(space, drawn, true, known)) for space in SPACES},
        "tokens": layout.count,
        "grids": [list(size) for size in layout.sizes],
        "numbers": layout.count * tokens[0, 0].numel(),
        "bits": None if continuous else layout.count * tokenizer.space.bits,
        **{name: float(value) for name, value in use.items()},
        "parameters": {
            part: sum(p.numel() for p in getattr(tokenizer, part).parameters())
            for part in ("encoder", "quantizer", "decoder")
        },
    }


def distance_between(
    space: str,
    first: UInt8[Tensor, "b 4 S S"],
    second: UInt8[Tensor, "b 4 S S"],
    others: UInt8[Tensor, "n 4 S S"],
    narrowest: float = 0.0,
) -> KernelDistance:
    """Kernel distance in a feature space, in units of the spread of other pictures (`narrowest`: see `scaled`)."""
    like = features(space, others)
    scaled_first, scaled_second = (scaled(features(space, each), like, narrowest) for each in (first, second))
    return kernel_distance(scaled_first, scaled_second)


@torch.no_grad()
def encoded(tokenizer: Autoencoder, pictures: UInt8[Tensor, "b 4 S S"], layout: Layout) -> Tensor:
    return tokenizer.encode(_pixels(tokenizer, pictures), layout).target


@torch.no_grad()
def decoded(tokenizer: Autoencoder, tokens: Tensor, layout: Layout) -> Float[Tensor, "b 4 S S"]:
    return tokenizer.decode(tokens, layout, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))


def rebuilt(tokenizer: Autoencoder, pictures: UInt8[Tensor, "b 4 S S"]) -> UInt8[Tensor, "b 4 S S"]:
    """Reconstructions, as bytes that can be shown."""
    layout = tokenizer.layout(*pictures.shape[2:])
    batches = pictures.split(CHUNK)
    return torch.cat([to_bytes(decoded(tokenizer, encoded(tokenizer, b, layout), layout)) for b in batches])


def speeds(
    tokenizers: dict[str, Autoencoder], pictures: UInt8[Tensor, "b 4 S S"], rounds: int = 5
) -> dict[str, dict[str, float]]:
    """Pictures a second for encoding and decoding, the best of some rounds; alternately, so load slows all alike."""
    best: dict[str, dict[str, float]] = {name: {"encode": 0.0, "decode": 0.0} for name in tokenizers}
    for _ in range(rounds):
        for name, tokenizer in tokenizers.items():
            layout = tokenizer.layout(*pictures.shape[2:])
            started = _now(tokenizer)
            tokens = encoded(tokenizer, pictures, layout)
            between = _now(tokenizer)
            decoded(tokenizer, tokens, layout)
            taken = {"encode": between - started, "decode": _now(tokenizer) - between}
            for way, seconds in taken.items():
                best[name][way] = max(best[name][way], len(pictures) / seconds)
    return best


def _now(tokenizer: Autoencoder) -> float:
    """The time once the tokenizer's device is idle."""
    if torch.accelerator.is_available() and _device(tokenizer).type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def _pixels(tokenizer: Autoencoder, pictures: UInt8[Tensor, "b 4 S S"]) -> Float[Tensor, "b 4 S S"]:
    return from_bytes(pictures.to(_device(tokenizer)))


def _device(tokenizer: Autoencoder) -> torch.device:
    """Of a buffer too, as a palette between pixelwise networks has no parameters."""
    return next(iter(tokenizer.state_dict().values())).device
