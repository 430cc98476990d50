"""Entrances of several codes: what is summed is one vector of each codebook, what is projected are directions."""

import itertools

import pytest
import torch

from kiloword.heads.code_entrance import ProjectedCodesConfig, SummedCodesConfig
from kiloword.tokens import Codes

SPACE = Codes((3, 1, 2))
TOKENS = torch.tensor([list(itertools.product(range(3), range(1), range(2)))])


@torch.no_grad()
def test_summed_codes_are_a_row_of_each_codebook():
    entrance = SummedCodesConfig().build(SPACE, 5)
    books = entrance.weight.split(SPACE.sizes)
    wanted = torch.stack([sum(book[code] for book, code in zip(books, token, strict=True)) for token in TOKENS[0]])
    assert torch.allclose(entrance(TOKENS)[0], wanted)


@torch.no_grad()
def test_projected_codes_are_directions_and_each_codebook_counts_in_its_own_place():
    torch.manual_seed(0)
    entrance = ProjectedCodesConfig(4).build(SPACE, 5)
    before = entrance(TOKENS)
    assert before.shape == (1, 6, 5)
    distances = torch.cdist(before[0], before[0]) + torch.eye(6)
    assert distances.min() > 1e-3  # no two tokens are the same vector
    entrance.weight *= 3
    assert torch.allclose(entrance(TOKENS), before, atol=1e-5)
    entrance.weight[4:] = entrance.weight[4:].flip(0)  # the last codebook's two codes change places
    assert torch.allclose(entrance(TOKENS).unflatten(1, (3, 2)).flip(2).flatten(1, 2), before, atol=1e-5)


def test_a_code_has_numbers():
    with pytest.raises(ValueError, match="at least 1 number, got 0"):
        ProjectedCodesConfig(0)
