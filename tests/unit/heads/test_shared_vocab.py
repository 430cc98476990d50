"""One vocabulary, two kinds of positions: each is given the ids of its own kind, and paddings have ids of their own."""

import pytest
import torch
from torch.nn.functional import linear

from kiloword.heads.entrance import AxialEntranceConfig
from kiloword.heads.head import Head, Sampling
from kiloword.heads.shared_vocab import SharedVocabConfig, SharedVocabHead
from kiloword.noise import Seeded
from kiloword.tokens import Categorical, Fed, Layout

TEXT, PICTURE, LIMIT, WIDTH = 11, 5, 4, 8
LAYOUT, LINE = Layout(((2, 3),)), Layout(((1, LIMIT),))


@pytest.fixture
def head() -> SharedVocabHead:
    torch.manual_seed(0)
    return SharedVocabConfig(Categorical(TEXT), Categorical(PICTURE), WIDTH, LIMIT, AxialEntranceConfig(2, 3)).build()


def everything(head: SharedVocabHead, hidden: torch.Tensor, legal: slice) -> torch.Tensor:
    """Log probabilities over the whole vocabulary with what is illegal masked."""
    mask = torch.ones(TEXT + LIMIT + PICTURE, dtype=torch.bool)
    mask[legal] = False
    return linear(hidden, head.output.weight).masked_fill(mask, -torch.inf).log_softmax(-1)


def test_both_views_obey_the_law_of_heads(head):
    assert isinstance(head, Head) and head.has_density and isinstance(head.text, Head)
    assert head.space == Categorical(PICTURE) and head.text.space == Categorical(TEXT)
    assert len(head.embedding.weight) == len(head.output.weight) == TEXT + LIMIT + PICTURE


def test_losses_are_those_of_the_whole_vocabulary_with_the_other_kind_forbidden(head):
    hidden = torch.randn(2, LIMIT, WIDTH)
    words, codes = torch.tensor([[3, 10, 0, 0], [1, 0, 0, 0]]), torch.tensor([[0, 4, 2, 1], [3, 3, 0, 0]])
    pictures = everything(head, hidden, slice(TEXT + LIMIT, None)).gather(-1, codes[..., None] + TEXT + LIMIT)
    assert torch.allclose(head.loss(hidden, codes), -pictures[..., 0], atol=1e-5)
    padded = torch.tensor([[3, 10, TEXT + 2, TEXT + 3], [1, TEXT + 1, TEXT + 2, TEXT + 3]])
    texts = everything(head, hidden, slice(0, TEXT + LIMIT)).gather(-1, padded[..., None])
    assert torch.allclose(head.text.loss(hidden, words), -texts[..., 0], atol=1e-5)
    late = head.text.loss(hidden[:, :2], words[:, 2:], torch.tensor([[2, 3], [2, 3]]))
    alone = everything(head, hidden[:, :2], slice(0, TEXT + LIMIT)).gather(-1, padded[:, 2:, None])
    assert torch.allclose(late, -alone[..., 0], atol=1e-5)


def test_a_padding_is_fed_as_that_of_its_place(head):
    place = torch.arange(LIMIT + 1)[None]
    fed = Fed(torch.tensor([[0, 3, 0, 0, 0]]), place > 0, torch.ones(1, LIMIT + 1), place)
    rows, memo = head.text.enter(fed, LINE)
    ids = torch.tensor([[3, TEXT + 1, TEXT + 2, TEXT + 3]])
    assert torch.equal(memo, place) and torch.allclose(rows[:, 0], head.start + head.text_position.weight[0])
    assert torch.allclose(rows[:, 1:], head.embedding(ids) + head.text_position.weight[1:])
    with pytest.raises(ValueError, match="texts of 4 tokens: the text is too long"):
        head.text.enter(Fed(fed.tokens[:, :1], place[:, :1] > 0, torch.ones(1, 1), place[:, :1] + LIMIT + 1), LINE)


def test_a_picture_row_adds_its_row_and_column_and_nothing_stands_where_nothing_is_fed(head):
    place = torch.arange(6)[None]
    fed = Fed(torch.tensor([[0, 4, 3, 2, 1, 0]]), place > 0, torch.ones(1, 6), place)
    rows, _ = head.enter(fed, LAYOUT)
    places = head.entrance.row.weight[place // 3] + head.entrance.column.weight[place % 3]
    wanted = head.embedding(fed.tokens + TEXT + LIMIT) + places
    assert torch.allclose(rows[:, 1:], wanted[:, 1:]) and not rows[:, 0].any()
    with pytest.raises(ValueError, match=r"this head has learned one of \(2, 3\)"):
        head.enter(fed, Layout(((3, 2),)))


@torch.no_grad()
def test_only_legal_values_are_drawn_and_any_padding_ends_a_text(head):
    head.output.weight[TEXT : TEXT + LIMIT] += 1.0
    hidden, weights, rows = torch.randn(1, 64, 20, WIDTH), torch.ones(1, 64), torch.arange(64)
    for view, size in ((head, PICTURE), (head.text, TEXT)):
        drawn = view.sample(hidden, weights, None, Sampling(), Seeded(range(64)), rows)
        assert drawn.shape == (64, 20) and drawn.unique().tolist() == list(range(size))
    head.output.weight[TEXT + 2] += 100 * hidden[0, 0, 0] / hidden[0, 0, 0].norm() ** 2
    first = hidden[:, :1, :1]
    assert head.text.sample(first, weights[:, :1], None, Sampling(0), Seeded([0]), torch.arange(1)).tolist() == [[0]]


@torch.no_grad()
def test_densities_sum_to_one(head):
    hidden, weights = torch.randn(2, 3, 4, WIDTH), torch.tensor([[2.0], [-1.0]]).expand(2, 3)
    for sampling in (Sampling(), Sampling(0.7, top_k=3), Sampling(1.1, top_p=0.8)):
        ids = [torch.full((3, 4), value) for value in range(PICTURE)]
        share = sum(head.log_prob(hidden, weights, one, sampling).exp() for one in ids)
        assert torch.allclose(share, torch.ones(3, 4), atol=1e-5)


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="got 0 positions and 0"):
        SharedVocabConfig(Categorical(3), Categorical(3), 8, 0, AxialEntranceConfig(1, 1))
    with pytest.raises(ValueError, match="one of its 3 ids, got 2 positions and 3"):
        SharedVocabConfig(Categorical(3), Categorical(3), 8, 2, AxialEntranceConfig(1, 1), pad=3)
