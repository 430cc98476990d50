"""The extended vocabulary: words and picture tokens in one vocabulary, each kind of position samples its own."""

import math

import pytest
import torch

import tiny
from kiloword.heads.extended_vocab import ExtendedVocabConfig
from kiloword.heads.head import Head, Sampling
from kiloword.noise import Seeded
from kiloword.tokens import Categorical, Fed, Layout

WORDS, CODES = 11, 6
LINE = Layout(((1, 4),))
SAMPLINGS = [Sampling(), Sampling(0.7, top_k=2), Sampling(1.3, top_p=0.8)]


def head_of(tied: bool = True, gain: float = 3.0):
    torch.manual_seed(0)
    return ExtendedVocabConfig(Categorical(WORDS), Categorical(CODES), tiny.WIDTH, tied, gain).build()


def hidden(views: int, b: int, q: int) -> torch.Tensor:
    return torch.randn(views, b, q, tiny.WIDTH, generator=torch.Generator().manual_seed(1))


def fed(ids: torch.Tensor, real: bool = True) -> Fed:
    place = torch.arange(ids.shape[1]).expand_as(ids)
    return Fed(ids, torch.full(ids.shape, real), torch.ones(ids.shape), place)


@pytest.mark.parametrize("tied", [True, False])
def test_it_obeys_the_law_for_both_kinds(tied):
    head = head_of(tied)
    assert isinstance(head, Head) and head.has_density and isinstance(head.text, Head)
    assert (head.space, head.text.space) == (Categorical(CODES), Categorical(WORDS))
    assert len(list(head.parameters())) == (1 if tied else 2)


@torch.no_grad()
def test_pictures_stand_behind_words_and_vectors_are_multiplied_by_the_gain():
    head, ids = head_of(), torch.tensor([[0, 3, 5]])
    table = head.embedding.weight
    assert torch.equal(head.enter(fed(ids), LINE)[0], 3 * table[WORDS + ids])
    assert torch.equal(head.text.enter(fed(ids), LINE)[0], 3 * table[ids])
    assert not head.enter(fed(ids, real=False), LINE)[0].any() and not head.text.enter(fed(ids, False), LINE)[0].any()


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_losses_are_among_all_ids(tied):
    """Over both kinds the probabilities sum to one, over one of them to less."""
    head = head_of(tied)
    rows = hidden(1, 1, 1)[0]
    codes = head.loss(rows.expand(1, CODES, -1), torch.arange(CODES)[None])
    words = head.text.loss(rows.expand(1, WORDS, -1), torch.arange(WORDS)[None])
    share = (-codes).exp().sum()
    assert (share + (-words).exp().sum()).item() == pytest.approx(1, abs=1e-5) and 0 < share < 1


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("weights", [[1.0], [7.0, -6.0]])
@torch.no_grad()
def test_densities_sum_to_one_over_picture_tokens_and_are_sampled_from(sampling, weights):
    head, w = head_of(), torch.tensor(weights)[:, None]
    one = hidden(len(weights), 1, 1)
    log = head.log_prob(one.expand(-1, -1, CODES, -1), w, torch.arange(CODES)[None], sampling)
    assert log.exp().sum().item() == pytest.approx(1, abs=1e-5)
    count = 6000
    drawn = head.sample(one.expand(-1, -1, count, -1), w, None, sampling, Seeded([3]), torch.arange(1))
    shares = torch.bincount(drawn[0], minlength=CODES) / count
    spread = (log[0].exp() * (1 - log[0].exp()) / count).sqrt()
    assert ((shares - log[0].exp()).abs() <= 4.5 * spread + 1e-9).all()


@torch.no_grad()
def test_each_kind_of_row_draws_its_own_ids_only():
    head, w, rows = head_of(), torch.ones(1, 3), torch.arange(3)
    states = hidden(1, 3, 500)
    for sampling in (Sampling(), Sampling(0)):
        codes = head.sample(states, w, None, sampling, Seeded([1, 2, 3]), rows)
        words = head.text.sample(states, w, None, sampling, Seeded([1, 2, 3]), rows)
        assert set(codes.unique().tolist()) == set(range(CODES))
        assert int(words.max()) < WORDS and len(words.unique()) > CODES


@torch.no_grad()
def test_logits_of_some_ids_are_those_of_all_and_what_leaves_can_be_heard():
    head, states = head_of(False), hidden(1, 2, 3)
    heard = []
    head.output_projection.register_forward_hook(lambda _, given, out: heard.append(given[0]))
    some = head.logits(states, head.pictures)
    assert torch.allclose(head.logits(states)[..., WORDS:], some, atol=1e-6)
    assert all(torch.equal(given, states) for given in heard) and len(heard) == 2
    assert head.logits(states, head.words).shape[-1] == WORDS and math.prod(some.shape) == 6 * CODES
