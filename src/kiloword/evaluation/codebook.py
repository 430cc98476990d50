"""Use of a codebook: how many of its codes occur, for tokens of any space.

van den Oord et al. 2017 for the perplexity; small factors are joined first, as Mentzer et al. 2023 count FSQ's codes.
"""

import math

import torch
from torch import Tensor

from kiloword.tokenizers.usage import usage
from kiloword.tokens import Codes, TokenSpace, Vector
from kiloword.tokens.space import values_of

COUNTABLE = 2**18  # codes that are counted one by one


def codebook_use(tokens: Tensor, space: TokenSpace, groups: int = 1) -> dict[str, Tensor]:
    """`usage`, the share of codes that occur, and `perplexity`, as `tokenizers/usage.py` says; nothing for vectors.

    A token of several factors is one code, or one for each of its `groups`; only where that would be more than
    262,144 codes is every factor counted by itself, and the mean given.
    """
    if isinstance(space, Vector):
        return {}
    sizes = values_of(space).reshape(-1).tolist()
    size = len(sizes) // groups
    runs = [sizes[start : start + size] for start in range(0, len(sizes), size)]
    if size > 1 and max(math.prod(run) for run in runs) <= COUNTABLE:
        base = torch.tensor([math.prod(run[i + 1 :]) for run in runs for i in range(size)], device=tokens.device)
        tokens = (tokens * base).unflatten(-1, (groups, size)).sum(-1)
        space = Codes(tuple(math.prod(run) for run in runs))
    return {name: torch.tensor(value) for name, value in usage(tokens, space).items()}
