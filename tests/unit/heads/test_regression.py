"""The regression head: tokens are of the kind that is aimed at, and its loss is 0 for the right one alone."""

import pytest
import torch

import tiny
from kiloword.heads.head import Head, Sampling
from kiloword.heads.regression import DirectionConfig, RegressionConfig, RegressionHead, ValueConfig
from kiloword.noise import Seeded
from kiloword.tokens import Codes, Vector

C, Q = 3, 4
AIMS = {"direction": DirectionConfig(), "value": ValueConfig()}
ONE = torch.ones(1, 2)


def head_of(aim: str) -> RegressionHead:
    torch.manual_seed(0)
    return RegressionConfig(Vector(C), tiny.WIDTH, AIMS[aim]).build()


def hidden_of(seed: int = 1) -> torch.Tensor:
    return torch.randn(2, Q, tiny.WIDTH, generator=torch.Generator().manual_seed(seed))


def drawn(head: RegressionHead, hidden: torch.Tensor, weights: torch.Tensor, seed: int = 0) -> torch.Tensor:
    seeds = Seeded([seed, seed + 1])
    return head.sample(hidden, weights, None, Sampling(), seeds, torch.arange(2))


@pytest.mark.parametrize("aim", AIMS)
@torch.no_grad()
def test_it_obeys_the_law_and_leaves_nothing_to_chance(aim):
    head, hidden = head_of(aim), hidden_of()
    assert isinstance(head, Head) and not head.guidable and not head.has_density
    tokens = drawn(head, hidden[None], ONE)
    assert tokens.shape == (2, Q, C) and torch.equal(tokens, drawn(head, hidden[None], ONE, seed=9))
    assert torch.allclose(tokens.norm(dim=-1), torch.ones(2, Q), atol=1e-5) is (aim == "direction")


@pytest.mark.parametrize("aim", AIMS)
@torch.no_grad()
def test_the_loss_is_least_at_the_token_that_is_drawn(aim):
    head, hidden = head_of(aim), hidden_of()
    tokens = drawn(head, hidden[None], ONE)
    right, other = head.loss(hidden, tokens), head.loss(hidden, torch.roll(tokens, 1, dims=1))
    assert right.shape == (2, Q) and torch.allclose(right, torch.zeros(2, Q), atol=1e-6) and (other > 1e-3).all()


@torch.no_grad()
def test_a_directions_error_is_one_less_the_cosine_and_a_values_the_mean_distance():
    worked_out, target = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    aim = DirectionConfig()
    assert torch.allclose(aim.error(aim.finished(worked_out), target), torch.tensor([0.0, 1.0]))
    assert torch.allclose(ValueConfig().error(worked_out, target), torch.tensor([1.0, 1.5]))


@pytest.mark.parametrize("guidance", [2.5, 0.0, -1.5, 1.25])
@torch.no_grad()
def test_the_first_view_counts_alone_and_any_other_weight_is_refused(guidance):
    head, views = head_of("direction"), torch.stack([hidden_of(1), hidden_of(2)])
    off = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert torch.equal(drawn(head, views, off), drawn(head, views[:1], ONE))
    for weights in (torch.tensor([[1.0, guidance], [0.0, 1 - guidance]]), torch.full((1, 2), guidance)):
        with pytest.raises(ValueError, match=rf"guidance is 1 \(off\) with this model, got {guidance:g}$"):
            drawn(head, views[: len(weights)], weights.float())


def test_it_predicts_vectors_only():
    with pytest.raises((ValueError, TypeError), match="Codes"):
        RegressionConfig(Codes((3, 2)), tiny.WIDTH)
