"""The kept picture is the likeliest to be read back, and how likely that is does not depend on how it is worked out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from kiloword.document import Piece, lay
from kiloword.engine.card import Card
from kiloword.engine.drive import draw
from kiloword.engine.painter import Painter
from kiloword.engine.rerank import candidate_seed, draw_best, first_best, read_back, reencoded
from kiloword.model import ImageModel
from kiloword.noise import Seeded

CASES = st.sampled_from(tiny.LEGAL)
SAID = st.lists(st.sampled_from(tiny.TEXTS), min_size=1, max_size=3)


def token_by_token(model: ImageModel, picture: torch.Tensor, text: str) -> float:
    """log p(text | picture) of one picture [1, n], the whole stream read anew for every text token."""
    ids, _ = model.text.encode([text])
    total, layout = 0.0, tiny.layout_of(model)
    for place, token in enumerate(ids[0].tolist()):
        so_far = ids[:, : place + 1]
        lots = [model.picture.read_span(picture, layout), model.text.span(so_far, torch.ones_like(so_far).bool())]
        stream = lay([[Piece(0, 0), Piece(1, 0)]], lots).stream
        logits = model.text.head.output(model.transformer(stream)[0, -1])
        total += float(logits.log_softmax(0)[token])
    return total


@given(CASES, SAID, st.integers(0, 99))
@torch.no_grad()
def test_reading_back_is_the_same_without_a_cache(case, said, seed):
    model = tiny.model(*case)
    pictures = tiny.tokens(model, len(said), seed)
    fast = read_back(model, pictures, tiny.layout_of(model), [[text] for text in said])
    slow = [token_by_token(model, pictures[row : row + 1], text) for row, text in enumerate(said)]
    assert torch.allclose(fast, torch.tensor(slow), atol=1e-3)


@given(CASES, st.integers(0, 99))
@torch.no_grad()
def test_wordings_add_up(case, seed):
    model = tiny.model(*case)
    layout, pictures = tiny.layout_of(model), tiny.tokens(model, 2, seed)
    together = read_back(model, pictures, layout, [list(tiny.TEXTS)] * 2)
    apart = torch.stack([read_back(model, pictures, layout, [[text]] * 2) for text in tiny.TEXTS])
    assert torch.allclose(together.exp(), apart.exp().sum(0), rtol=1e-4)


@settings(max_examples=8)
@given(CASES, st.integers(0, 99), st.sampled_from([1.0, 2.0]), st.booleans())
@torch.no_grad()
def test_the_best_candidate_is_kept(case, seed, guidance, edited):
    model = tiny.model(*case)
    prompts, seeds = ["a pear", "a green pear on a blue house"], [seed, seed + 1]
    fixed = {"tokens": tiny.tokens(model, 2), "given": torch.arange(tiny.layout_of(model).count).expand(2, -1) < 3}
    drawing = tiny.drawing(model, prompts, guidance, **(fixed if edited else {}))
    kept = list(draw_best(model, drawing, seeds, [[prompt] for prompt in prompts], 4))
    for row, prompt in enumerate(prompts):
        own = {name: value[row : row + 1] for name, value in fixed.items()} if edited else {}
        tried = [candidate_seed(seeds[row], k) for k in range(4)]
        ways = [list(draw(model, tiny.drawing(model, [prompt], guidance, **own), Seeded([s]))) for s in tried]
        likely = [token_by_token(model, reencoded(model, way[-1], drawing.layout), prompt) for way in ways]
        best = max(range(4), key=likely.__getitem__)
        assert likely[best] - likely[tried.index(kept[-1][1][row])] < 1e-3
        way = ways[tried.index(kept[-1][1][row])]
        assert all(torch.equal(one.tokens[0], two.tokens[row]) for one, (two, _) in zip(way, kept, strict=True))
        assert all(torch.equal(one.known[0], two.known[row]) for one, (two, _) in zip(way, kept, strict=True))


def test_equal_scores_go_to_the_first():
    likely = torch.tensor([[-3.0, -1.00001, -1.0], [-2.0, -2.0, -2.0], [-9.0, -9.0, -1.0]])
    assert first_best(likely).tolist() == [1, 3, 8]


def test_candidates_have_seeds_of_their_own_and_the_first_is_the_picture_itself():
    tried = [candidate_seed(seed, k) for seed in (0, 1, 2**62) for k in range(64)]
    assert len(set(tried)) == 3 * 64 and candidate_seed(2**62, 0) == 2**62
    assert all(0 <= seed < 2**63 for seed in tried)


@pytest.fixture(scope="module")
def painter() -> Painter:
    model, size = tiny.model("pyramid", "draft", "factorised"), (tiny.ROWS, tiny.COLUMNS)
    return Painter(model, Card("tiny", (size,), {"red": "a red {}", "blue": "a blue {}"}, guidance=2.0))


@pytest.mark.parametrize("style", [None, "red"])
def test_a_request_keeps_the_best_and_says_which_seed_drew_it(painter, style):
    two = list(painter.stream("apple", n=2, seed=3, style=style, candidates=8, partials=1))
    assert [(preview.index, preview.final) for preview in two] == [(0, False), (1, False), (0, True), (1, True)]
    one = painter.generate("apple", seed=4, style=style, candidates=8)
    assert one[0].tobytes() == two[3].image.tobytes()
    for preview in two[2:]:
        again = painter.generate("apple", seed=preview.seed, style=style)
        assert again[0].tobytes() == preview.image.tobytes()
    first = list(painter.stream("apple", seed=3, style=style, candidates=1, partials=0))
    assert first[0].seed == 3


def test_a_picture_is_judged_in_the_words_of_its_style(painter):
    assert painter.wordings("apple", "red") == ["a red apple"]
    assert painter.wordings("apple", None) == ["apple", "a red apple", "a blue apple"]


def test_what_cannot_be_judged_is_refused_before_anything_is_drawn(painter):
    with pytest.raises(ValueError, match="candidates must be from 1 to 32 for each of 2 pictures, got 33"):
        painter.generate("apple", n=2, candidates=33)
    with pytest.raises(ValueError, match="from 1 to 64 for each of 1 pictures, got 0"):
        painter.generate("apple", candidates=0)
    with pytest.raises(ValueError, match="has 10 tokens, the limit is 8"):
        painter.generate("apple pear apple pear apple pear apple pear", candidates=2)
    text, painter.model.text = painter.model.text, None
    try:
        assert painter.generate("apple")
        with pytest.raises(ValueError, match="tiny only draws: it cannot judge 2 candidates"):
            painter.generate("apple", candidates=2)
        with pytest.raises(ValueError, match="no text to read its pictures back in"):
            read_back(painter.model, tiny.tokens(painter.model, 1), tiny.layout_of(painter.model), [["apple"]])
    finally:
        painter.model.text = text
