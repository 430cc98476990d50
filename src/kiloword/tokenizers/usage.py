"""Codebook usage: how many of the possible values occur, and how evenly.

van den Oord et al. 2017 (VQ-VAE) for the perplexity of codes.
"""

import torch
from torch import Tensor

from kiloword.tokens import TokenSpace
from kiloword.tokens.space import values_of


def usage(tokens: Tensor, space: TokenSpace) -> dict[str, float]:
    """`usage` is the share of values that occur among the tokens, `perplexity` the number of equally frequent values
    that would be as hard to guess; for tokens of several factors their means. Raises ValueError for vectors."""
    sizes = values_of(space).reshape(-1).tolist()
    used, perplexity = 0.0, 0.0
    for size, ids in zip(sizes, tokens.reshape(-1, len(sizes)).unbind(1), strict=True):
        share = torch.bincount(ids.long(), minlength=size).double() / max(1, len(ids))
        used += float((share > 0).double().mean())
        perplexity += float(torch.special.entr(share).sum().exp())
    return {"usage": used / len(sizes), "perplexity": perplexity / len(sizes)}
