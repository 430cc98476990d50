"""Nearest codes by squared distance, exactly, in bounded memory whatever the sizes.

van den Oord et al. 2017 (VQ-VAE), equation 1: |z - e|^2 is smallest where z.e - |e|^2/2 is largest.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

# Axes: p vectors, v codes, c channels, d = c + 1, u columns of a table.

BLOCK = 64  # the block with the largest score is found first, then the argmax in it: quicker than one over all
SCORES = {"cpu": 2**20}  # scores held at a time: as many as fit in the cache
MANY_SCORES = 2**26  # where there is no such cache


def nearest(vectors: Float[Tensor, "p c"], codes: Float[Tensor, "v c"]) -> Int[Tensor, "p"]:
    """Ids of the nearest codes; of equally near ones any."""
    return nearest_in(table_of(codes), vectors)


def table_of(codes: Float[Tensor, "v c"]) -> Float[Tensor, "d u"]:
    """Codes prepared for several searches: a column a code, below it -|e|^2/2; padding columns never win."""
    table = torch.cat([codes, -codes.square().sum(1, keepdim=True) / 2], dim=1)
    table = pad(table.t(), (0, -len(codes) % BLOCK))
    table[-1, len(codes) :] = -torch.inf
    return table


def nearest_in(table: Float[Tensor, "d u"], vectors: Float[Tensor, "p c"]) -> Int[Tensor, "p"]:
    """Ids of the nearest codes of a table."""
    batch = max(1, SCORES.get(vectors.device.type, MANY_SCORES) // table.shape[1])
    with torch.no_grad(), torch.autocast(vectors.device.type, enabled=False):
        ids = torch.empty(len(vectors), dtype=torch.long, device=vectors.device)
        scores = vectors.new_empty(min(batch, len(vectors)), table.shape[1])  # one buffer for all batches
        for some, found in zip(vectors.split(batch), ids.split(batch), strict=True):
            found.copy_(_largest(torch.mm(pad(some, (0, 1), value=1.0), table, out=scores[: len(some)])))
    return ids


def _largest(scores: Float[Tensor, "p v"]) -> Int[Tensor, "p"]:
    blocks = scores.unflatten(1, (-1, BLOCK))
    block = blocks.amax(2).argmax(1)
    inside = blocks[torch.arange(len(blocks), device=blocks.device), block].argmax(1)
    return block * BLOCK + inside
