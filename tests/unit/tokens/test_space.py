"""A token space takes its own tokens and refuses all others, saying why."""

import math

import pytest
import torch

from kiloword.tokens import Bits, Categorical, Codes, Vector

GOOD = [
    (Categorical(5), torch.tensor([[0, 4]])),
    (Codes((3, 2)), torch.tensor([[[2, 1], [0, 0]]])),
    (Bits(2), torch.tensor([[[0, 1], [1, 1]]])),
    (Vector(2), torch.tensor([[[0.5, -3.0]]])),
]


@pytest.mark.parametrize("space,tokens", GOOD, ids=lambda value: str(value)[:20])
def test_its_own_tokens_are_taken_and_have_its_tail(space, tokens):
    space.check(tokens)
    assert tokens.shape[2:] == space.tail


@pytest.mark.parametrize("space,tokens", GOOD, ids=lambda value: str(value)[:20])
def test_another_shape_is_refused_with_both_shapes(space, tokens):
    with pytest.raises(ValueError, match=r"have shape \[b, n.*got \[1, "):
        space.check(tokens[..., None])


@pytest.mark.parametrize(
    "space,tokens,message",
    [
        (Categorical(5), torch.tensor([[0, 5]]), "token 5 is outside"),
        (Categorical(5), torch.tensor([[-1, 0]]), "token -1 is outside"),
        (Codes((3, 2)), torch.tensor([[[2, 2]]]), "token 2 is outside"),
        (Bits(2), torch.tensor([[[0, 2]]]), "token 2 is outside"),
        (Categorical(5), torch.tensor([[0.0, 1.0]]), "integers, got torch.float32"),
        (Vector(2), torch.tensor([[[math.nan, 0.0]]]), "NaN or infinity"),
    ],
)
def test_values_outside_are_refused(space, tokens, message):
    with pytest.raises(ValueError, match=message):
        space.check(tokens)


@pytest.mark.parametrize("make", [lambda: Categorical(0), lambda: Codes((3, 0)), lambda: Bits(0), lambda: Vector(0)])
def test_empty_spaces_are_refused(make):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        make()


def test_codes_need_a_factor():
    with pytest.raises(ValueError, match=r"got \(\)"):
        Codes(())


def test_bits_are_the_logarithm_of_the_number_of_tokens():
    assert Categorical(8).bits == 3 and Bits(7).bits == 7 and Vector(3).bits == math.inf
    assert Codes((8, 8, 8, 5, 5)).bits == pytest.approx(math.log2(12800))
