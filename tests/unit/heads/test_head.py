"""Choosing a value: temperature, top k and top p leave out what they say, and no more; guidance 1 is off."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kiloword.heads.head import Head, Sampling, combine_views, filter_logits, memo_at

LOGITS = st.lists(st.floats(-6, 6, width=32), min_size=1, max_size=8, unique=True)


@given(LOGITS, st.floats(0.1, 3))
def test_temperature_divides_and_leaves_nothing_out(logits, temperature):
    x = torch.tensor(logits)
    assert torch.allclose(filter_logits(x, Sampling(temperature)), x / temperature, atol=1e-5)


@given(LOGITS)
def test_temperature_zero_takes_the_likeliest(logits):
    x = torch.tensor(logits)
    assert filter_logits(x, Sampling(0)).softmax(0).tolist() == [float(value == max(logits)) for value in logits]


@given(LOGITS, st.integers(1, 9))
def test_top_k_keeps_the_k_likeliest(logits, k):
    x = torch.tensor(logits)
    kept = filter_logits(x, Sampling(top_k=k))
    likeliest = sorted(logits, reverse=True)[:k]
    assert kept.tolist() == [value if value in likeliest else -math.inf for value in x.tolist()]


@given(LOGITS, st.floats(0.01, 1))
def test_top_p_keeps_the_fewest_likeliest_that_reach_p(logits, p):
    x = torch.tensor(logits)
    kept, probabilities = filter_logits(x, Sampling(top_p=p)) > -math.inf, x.double().softmax(0)
    assert kept[x.argmax()]
    for value in range(len(logits)):
        before = probabilities[x > x[value]].sum().item()
        if abs(before - p) > 1e-5:
            assert kept[value].item() == (before < p)


@given(LOGITS, st.integers(1, 9), st.floats(0.01, 1))
def test_top_p_shares_out_what_top_k_has_left(logits, k, p):
    left = filter_logits(torch.tensor(logits), Sampling(top_k=k))
    kept = filter_logits(torch.tensor(logits), Sampling(top_k=k, top_p=p)) > -math.inf
    probabilities = left.double().softmax(0)
    for value in range(len(logits)):
        before = probabilities[left > left[value]].sum().item()
        if abs(before - p) > 1e-5:
            assert kept[value].item() == (before < p and left[value].item() > -math.inf)


@given(st.integers(1, 3), st.floats(-3, 5))
def test_weights_that_sum_to_one_move_along_the_views(b, guidance):
    logits = torch.randn(2, b, 4, 5, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([[guidance], [1 - guidance]]).expand(2, b)
    wanted = logits[1] + guidance * (logits[0] - logits[1])
    assert torch.allclose(combine_views(logits, weights), wanted, atol=1e-4)


def test_guidance_one_is_off():
    logits = torch.randn(2, 3, 4, 5)
    off = torch.tensor([[1.0], [0.0]]).expand(2, 3)
    assert torch.equal(combine_views(logits, off), logits[0])
    assert torch.equal(combine_views(logits[:1], off[:1]), logits[0])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=7))
def test_the_memo_of_some_positions_is_theirs(some):
    class Chosen:
        def at(self, index):
            return "of", index.tolist()

    index, memo = torch.tensor([some, some[::-1]]), torch.rand(2, 5, 3)
    found = memo_at(memo, index)
    for row, chosen in enumerate((some, some[::-1])):
        assert torch.equal(found[row], memo[row, chosen])
    assert memo_at(None, index) is None and memo_at(Chosen(), index) == ("of", index.tolist())


def test_a_head_without_powers_says_so():
    head, one = Head(), torch.ones(1, 1)
    assert head.guidable and head.canvas == 0
    assert not (head.has_density or head.denoising or head.modulates or head.whole)
    head.refuse_guidance(torch.tensor([[2.0], [-1.0]]))
    with pytest.raises(ValueError, match="has no likelihood of tokens"):
        head.log_prob(torch.zeros(1, 1, 1, 4), one, torch.zeros(1, 1), Sampling())


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"temperature": -1.0}, "got -1"),
        ({"temperature": math.nan}, "got nan"),
        ({"top_k": -1}, "got -1"),
        ({"top_p": 0.0}, "got 0"),
        ({"top_p": 1.5}, "got 1.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)
