"""Pictures to tokens, each in several random versions: the training data of image models.

Random variants as in `augmentation.py`; tokenizers that flip bits show other tokens than their targets (Han et al.
2024, bitwise self-correction).
"""

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor, nn

from kiloword.noise import Seeded, seed_for
from kiloword.tokenizers.tokenizer import Tokenizer
from kiloword.tokens import TokenSpace, Vector
from kiloword.tokens.space import values_of
from kiloword.training.augmentation import shrink, vary
from kiloword.training.precision import multiplies_bfloat16

# Axes: n pictures, k versions of each, t tokens, S pixels a side.

BATCH = 256  # pictures that are encoded together


@torch.no_grad()
def versions(
    tokenizer: Tokenizer, pictures: UInt8[Tensor, "n 4 S S"], side: int, count: int, seed: int = 0, first: int = 0
) -> tuple[Shaped[Tensor, "n k t ..."], Shaped[Tensor, "n k t ..."]]:
    """Tokens of every picture as it is, and in count - 1 random variants: targets, and tokens shown to later ones.

    `first` is the index of the first of these pictures in the data set. Tokens are stored in few bytes. The
    variants may be encoded in bfloat16: a latent at the edge of its code's cell is one variation more.
    """
    assert isinstance(tokenizer, nn.Module)
    layout, device = tokenizer.layout(side, side), next(tokenizer.parameters(), torch.empty(0)).device
    rounds = []
    for version in range(count):
        parts = []
        for start, batch in zip(range(first, first + len(pictures), BATCH), pictures.split(BATCH), strict=True):
            generator = torch.Generator().manual_seed(seed_for(seed, f"{version}/{start}"))
            pixels = vary(batch, side, generator) if version else shrink(batch, side)
            coarse = version > 0 and multiplies_bfloat16(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=coarse):
                noise = Seeded([seed_for(seed, f"{version}/{start + index}") for index in range(len(batch))])
                made = tokenizer.encode(pixels.to(device), layout, noise if version and tokenizer.flips else None)
                parts.append(torch.stack([made.target, made.shown]).to(stored_as(tokenizer.space)).cpu())
        rounds.append(torch.cat(parts, dim=1))
    target, shown = torch.stack(rounds, dim=2)
    return target, shown


def stored_as(space: TokenSpace) -> torch.dtype:
    """The smallest number format that holds tokens of a space."""
    if isinstance(space, Vector):
        return torch.float16
    return torch.uint8 if int(values_of(space).max()) <= 256 else torch.int16
