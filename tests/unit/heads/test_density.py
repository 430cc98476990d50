"""Heads with a density: it sums to one over all tokens, is what sampling draws from, and is minus the loss."""

import itertools
import math

import pytest
import torch

import tiny
from kiloword.heads.bitwise import BitwiseConfig
from kiloword.heads.categorical import CategoricalConfig
from kiloword.heads.code_entrance import ProjectedCodesConfig
from kiloword.heads.factorised import FactorisedConfig
from kiloword.heads.head import Sampling
from kiloword.heads.multicode_head import MulticodeHeadConfig
from kiloword.noise import Seeded
from kiloword.tokens import Bits, Categorical, Codes
from kiloword.tokens.space import values_of

HEADS = {
    "bitwise": BitwiseConfig(Bits(3), tiny.WIDTH),
    "factorised": FactorisedConfig(Codes((3, 1, 2, 2)), tiny.WIDTH, units=6),
    "categorical": CategoricalConfig(Categorical(7), tiny.WIDTH),
    "tied": CategoricalConfig(Categorical(7), tiny.WIDTH, tied=True),
    "multicode": MulticodeHeadConfig(Codes((3, 1, 2, 2)), tiny.WIDTH, tiny.stack()),
    "projected": MulticodeHeadConfig(Codes((3, 3)), tiny.WIDTH, tiny.blocks(), codes=ProjectedCodesConfig(2)),
    "one code": MulticodeHeadConfig(Codes((7,)), tiny.WIDTH, tiny.stack()),
}
SAMPLINGS = [Sampling(), Sampling(0.7, top_k=2), Sampling(1.3, top_p=0.8)]


def head_of(name: str):
    torch.manual_seed(0)
    return tiny.awake(HEADS[name].build())


def all_tokens(head) -> torch.Tensor:
    """Every token of the head's space: [1, count, tail]."""
    if isinstance(head.space, Categorical):
        return torch.arange(head.space.size)[None]
    return torch.tensor([list(itertools.product(*map(range, values_of(head.space).tolist())))])


def same(count: int, views: int = 1) -> torch.Tensor:
    """One hidden vector in each view, at `count` places: [views, 1, count, width]."""
    hidden = torch.randn(views, 1, 1, tiny.WIDTH, generator=torch.Generator().manual_seed(1))
    return hidden.expand(-1, -1, count, -1)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("weights", [[1.0], [2.5, -1.5]])
@torch.no_grad()
def test_densities_sum_to_one(name, sampling, weights):
    head = head_of(name)
    tokens = all_tokens(head)
    assert head.has_density and head.guidable and not head.denoising
    log = head.log_prob(same(tokens.shape[1], len(weights)), torch.tensor(weights)[:, None], tokens, sampling)
    assert log.shape == tokens.shape[:2]
    assert log.exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.8, top_p=0.9)], ids=str)
@pytest.mark.parametrize("weights", [[1.0], [1.5, -0.5]])
@torch.no_grad()
def test_sampling_draws_from_the_density(name, sampling, weights):
    head, count = head_of(name), 8000
    tokens, w = all_tokens(head), torch.tensor(weights)[:, None]
    probabilities = head.log_prob(same(tokens.shape[1], len(weights)), w, tokens, sampling)[0].exp()
    drawn = head.sample(same(count, len(weights)), w, None, sampling, Seeded([3]), torch.tensor([0]))
    head.space.check(drawn)
    found = drawn[0, :, None] == tokens[0][None]
    frequencies = (found if found.ndim == 2 else found.all(-1)).float().mean(0)
    deviation = (probabilities * (1 - probabilities) / count).sqrt()
    assert ((frequencies - probabilities).abs() <= 4.5 * deviation + 1e-6).all()


@pytest.mark.parametrize("name", HEADS)
@torch.no_grad()
def test_the_loss_is_minus_the_logarithm_of_the_density(name):
    head = head_of(name)
    tokens = all_tokens(head)
    hidden = torch.randn(1, tokens.shape[1], tiny.WIDTH, generator=torch.Generator().manual_seed(2))
    log = head.log_prob(hidden[None], torch.ones(1, 1), tokens, Sampling())
    assert torch.allclose(head.loss(hidden, tokens, None, None), -log, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
@torch.no_grad()
def test_temperature_zero_is_the_likeliest_factor_each_time(name):
    head = head_of(name)
    first, second = (
        head.sample(same(20), torch.ones(1, 1), None, Sampling(0), Seeded([seed]), torch.tensor([0])) for seed in (1, 2)
    )
    assert torch.equal(first, second) and (first == first[:, :1]).all()
    log = head.log_prob(same(1), torch.ones(1, 1), first[:, :1], Sampling(0))
    assert log.item() == 0


@pytest.mark.parametrize("name", ["factorised", "multicode"])
@torch.no_grad()
def test_a_factor_hears_of_the_factors_before_it_only(name):
    head = head_of(name)
    tokens = all_tokens(head)
    hidden, changed = same(tokens.shape[1])[0], tokens.clone()
    changed[..., 2] = 1 - changed[..., 2]
    before, after = head.logits(hidden, tokens), head.logits(hidden, changed)
    assert torch.allclose(before[..., :3, :], after[..., :3, :], atol=1e-6)
    assert not torch.allclose(before[..., 3, :2], after[..., 3, :2], atol=1e-3)


def test_a_head_refuses_a_space_that_it_cannot_predict():
    for config, space in ((FactorisedConfig, Categorical(4)), (CategoricalConfig, Codes((4, 4)))):
        with pytest.raises((ValueError, TypeError), match=r"Categorical|Codes"):  # the check of types speaks first
            config(space, 8)
    with pytest.raises((ValueError, TypeError), match="Bits"):
        BitwiseConfig(Codes((2, 2)), 8)
    with pytest.raises((ValueError, TypeError), match="Codes"):
        MulticodeHeadConfig(Categorical(4), tiny.WIDTH, tiny.stack())
    with pytest.raises(ValueError, match="is 16 wide, the head 8"):
        MulticodeHeadConfig(Codes((4, 4)), 8, tiny.stack())


@pytest.mark.parametrize("name", tiny.HEADS)
@torch.no_grad()
def test_the_entrance_tells_tokens_places_and_unknown_shares_apart(name):
    torch.manual_seed(0)
    head = tiny.awake(tiny.HEADS[name].build())
    order = tiny.ORDERS["rows"].build()
    layout = tiny.Layout(((1, 3),))
    shown = torch.tensor([[[1, 1], [2, 1], [1, 1]]]) if head.space.tail else torch.tensor([[1, 2, 1]])
    pick, schedule = torch.arange(3)[None], order.schedule(layout, 1, None, None)

    def entered(shown: torch.Tensor, level: float = 1.0) -> torch.Tensor:
        return head.enter(order.feed(shown, schedule, torch.full((1, 3), level), pick, layout), layout)[0][0]

    plain = entered(shown)
    assert plain.shape == (3, tiny.WIDTH)
    assert not torch.allclose(plain[1], plain[2], atol=1e-3)
    assert (entered(shown, 0.5) - plain).abs().max() > 1e-3
    other = shown.clone()
    other[:, 0] = 0
    moved = (entered(other) - plain).abs().amax(-1)
    assert moved[0] == 0 and moved[1] > 1e-3 and moved[2] == 0
    assert math.isfinite(plain.abs().max().item())
