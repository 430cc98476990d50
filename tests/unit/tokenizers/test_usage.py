"""Codebook usage and perplexity, of cases that can be counted by hand."""

import pytest
import torch

from kiloword.tokenizers.usage import usage
from kiloword.tokens import Bits, Categorical, Codes, Vector


def test_equal_use_of_half_the_codes():
    figures = usage(torch.tensor([[0, 1], [2, 3]]), Categorical(8))
    assert figures == {"usage": 0.5, "perplexity": pytest.approx(4)}


def test_one_code_only():
    assert usage(torch.full((2, 5), 3), Categorical(8)) == {"usage": 1 / 8, "perplexity": pytest.approx(1)}


def test_factors_are_averaged():
    tokens = torch.tensor([[[0, 0], [1, 0]]])
    assert usage(tokens, Codes((2, 4))) == {"usage": (1 + 0.25) / 2, "perplexity": pytest.approx(1.5)}
    assert usage(tokens, Bits(2)) == {"usage": 0.75, "perplexity": pytest.approx(1.5)}


def test_vectors_have_no_codes():
    with pytest.raises(ValueError, match="continuous"):
        usage(torch.zeros(1, 2, 3), Vector(3))
