"""Corruption: some of the codes that a network reads are replaced by random ones, so that it tolerates wrong ones.

Bengio et al. 2015 (scheduled sampling) for the problem.
"""

import torch
from torch import Tensor

from kiloword.tokens import TokenSpace, Vector
from kiloword.tokens.space import values_of


def corrupted(tokens: Tensor, space: TokenSpace, share: float | Tensor) -> Tensor:
    """Tokens with this share of their codes replaced; one number, or one a picture. Vectors stay unchanged."""
    if isinstance(space, Vector):
        return tokens
    if isinstance(share, Tensor):
        share = share.to(tokens.device).view(-1, *(1,) * (tokens.ndim - 1))
    random = (torch.rand(tokens.shape, device=tokens.device) * values_of(space).to(tokens.device)).long()
    return torch.where(torch.rand(tokens.shape, device=tokens.device) < share, random, tokens)
