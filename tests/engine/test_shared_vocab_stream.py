"""Text and picture in one stream, a pattern a layer: cached, uncached and teacher-forced are one; nothing leaks."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import shared_vocab
import tiny
from kiloword.document import Piece, condition_span, lay, to_describe, to_learn
from kiloword.engine.drive import draw, write
from kiloword.engine.rerank import read_back
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded

CASES = st.fixed_dictionaries(
    {
        "patterns": st.sampled_from(sorted(shared_vocab.PATTERNS)), "position_of": st.sampled_from(["fed", "target"]),
        "path": st.sampled_from(["rows", "snake"]), "depth": st.integers(1, 3),
    }
)  # fmt: skip
PROMPTS = st.lists(st.sampled_from([*tiny.TEXTS, "", None]), min_size=1, max_size=3)
SAMPLINGS = st.sampled_from([Sampling(), Sampling(0.7, top_p=0.9), Sampling(0)])


def both(model: ImageModel, prompts: list, tokens: torch.Tensor, shown: torch.Tensor) -> tuple:
    """The losses of pictures' tokens, and of the tokens of their prompts."""
    losses = model.loss(to_learn(prompts, tiny.layout_of(model), tokens, shown, predict_prompts=True))
    return losses["picture"].masked(), losses["prompt"].masked()


@given(CASES, PROMPTS, st.data())
@torch.no_grad()
def test_cached_uncached_and_teacher_forced_see_the_same(case, prompts, data):
    model = shared_vocab.model(**case)
    model.picture.head = head = tiny.RecordingHead(model.picture.head)
    mask = torch.rand(len(prompts), 8, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 9)))) < 0.3
    drawing = tiny.drawing(model, prompts, tokens=tiny.tokens(model, len(prompts), seed=5), given=mask)
    slow = [progress.tokens for progress in model.draw(drawing, Seeded(range(len(prompts))))]
    uncached = head.take()
    fast = [progress.tokens for progress in draw(model, drawing, Seeded(range(len(prompts))))]
    cached = head.take()
    assert all(torch.equal(a, b) for a, b in zip(slow, fast, strict=True))
    tiny.picture_losses(model, prompts, slow[-1], capacity=data.draw(st.integers(1, 60)))
    step = model.picture.order.schedule(drawing.layout, 1, None, None).start[0].argsort()
    assert torch.allclose(cached, uncached, atol=1e-4)
    assert torch.allclose(cached, head.take()[:, step], atol=1e-4)


@given(CASES, PROMPTS, SAMPLINGS, st.sampled_from([1.0, 2.5]))
@torch.no_grad()
def test_every_step_is_the_same_with_guidance(case, prompts, sampling, guidance):
    model = shared_vocab.model(**case)
    drawing = tiny.drawing(model, prompts, guidance, sampling=sampling)
    seeds = range(len(prompts))
    for a, b in zip(model.draw(drawing, Seeded(seeds)), draw(model, drawing, Seeded(seeds)), strict=True):
        assert torch.equal(a.tokens, b.tokens)


@given(CASES, st.integers(0, 7))
@torch.no_grad()
def test_a_token_changes_only_what_is_predicted_later_and_no_text(case, token):
    model = shared_vocab.model(**case)
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 2)
    shown = tokens.clone()
    shown[:, token] = (shown[:, token] + 1) % 7
    step = model.picture.order.schedule(layout, 1, None, None).start[0]
    before, said = both(model, ["a pear", None], tokens, tokens)
    after, still = both(model, ["a pear", None], tokens, shown)
    assert torch.allclose(before[:, step <= step[token]], after[:, step <= step[token]], atol=1e-5)
    assert torch.allclose(said, still, atol=1e-5)
    if (step == step[token] + 1).any():
        assert ((before - after)[:, step == step[token] + 1].abs() > 1e-5).all()


@given(CASES, st.integers(0, 4))
@torch.no_grad()
def test_a_word_changes_only_what_is_said_later_and_every_token(case, place):
    model = shared_vocab.model(**case)
    tokens = tiny.tokens(model, 1)
    words = ["a", "green", "pear", "a", "blue"]
    other = " ".join([*words[:place], "apple", *words[place + 1 :]])
    before, said = both(model, [" ".join(words)], tokens, tokens)
    after, anew = both(model, [other], tokens, tokens)
    ids = model.prompt.target([" ".join(words), other])
    first = int((ids[0] != ids[1]).int().argmax())
    assert torch.allclose(said[:, :first], anew[:, :first], atol=1e-5)
    assert ((before - after).abs() > 1e-6).all()


def near(row: int, column: int, pattern: str, rows: int = 4, columns: int = 2) -> set[tuple[int, int]]:
    """The places before this one in raster order, itself included, that the pattern shows."""
    before = {divmod(n, columns) for n in range(row * columns + column + 1)}
    return {
        "row": {p for p in before if p[0] == row},
        "wrapped row": {divmod(n, columns) for n in range(rows * columns)} & set(
            sorted(before)[-(columns + 1):]
        ),
        "column": {p for p in before if p[1] == column},
        "convolution": {p for p in before if abs(p[0] - row) <= 1 and abs(p[1] - column) <= 1},
    }[pattern]  # fmt: skip


@pytest.mark.parametrize("pattern", ["row", "wrapped row", "column", "convolution"])
@torch.no_grad()
def test_one_layer_hears_of_the_places_of_its_pattern_and_of_all_words(pattern):
    """Positions sit where the token that they are fed does: the one fed with token k predicts token k + 1."""
    model = shared_vocab.model(patterns=pattern, position_of="fed", depth=1)
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 1)
    before = tiny.picture_losses(model, ["a pear"], tokens)
    for token in range(layout.count - 1):
        shown = tokens.clone()
        shown[:, token] = (shown[:, token] + 1) % 7
        heard = (tiny.picture_losses(model, ["a pear"], tokens, shown) - before)[0].abs() > 1e-6
        for fed in range(layout.count - 1):
            assert bool(heard[fed + 1]) == (divmod(token, 2) in near(*divmod(fed, 2), pattern))
    after = tiny.picture_losses(model, ["a green pear"], tokens)
    assert ((before - after).abs() > 1e-6).all()


@torch.no_grad()
def test_the_text_before_a_picture_has_the_likelihood_of_its_words_one_by_one():
    """p(text): each token from those before it; the picture behind them does not matter."""
    model = shared_vocab.model()
    tokens = tiny.tokens(model, 1)
    _, said = both(model, ["a red apple"], tokens, tokens)
    assert said.shape == (1, shared_vocab.LIMIT)
    ids = model.prompt.target(["a red apple"])
    condition = model.prompt.read(["a red apple"])
    hidden = model.transformer(lay([[Piece(0, 0)]], [condition_span(condition)]).stream)
    weight = model.picture.head.output.weight
    legal = torch.arange(len(weight)) < model.picture.head.config.first
    logits = (hidden @ weight.T).masked_fill(~legal, -torch.inf).log_softmax(-1)
    padded = torch.where(ids == 0, model.text.head.space.size + torch.arange(shared_vocab.LIMIT), ids)
    assert torch.allclose(said, -logits.gather(-1, padded[..., None])[..., 0], atol=1e-4)


@given(st.lists(st.sampled_from(tiny.TEXTS), min_size=1, max_size=3))
@torch.no_grad()
def test_it_reads_and_writes_through_the_shared_head(said):
    model = shared_vocab.model()
    layout, pictures = tiny.layout_of(model), tiny.tokens(model, len(said))
    told = tiny.text_losses(model, said, pictures)
    assert len(told) == len(said)
    likely = read_back(model, pictures, layout, [[text] for text in said])
    assert torch.allclose(likely, -told.sum(1), atol=1e-4)
    assert len(write(model, to_describe(pictures, layout), Sampling(), Seeded(range(len(said))))) == len(said)


def test_losses_reach_every_weight_and_the_matrix_once():
    model = shared_vocab.model()
    tokens = tiny.tokens(model, 2)
    drawn, said = both(model, ["a red apple", None], tokens, tokens)
    (7 * drawn.mean() + said.mean()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in silent if "tokenizer" not in name] == []
    names = [name for name in model.state_dict() if "tokenizer" not in name and "transformer" not in name]
    assert all(name.startswith("picture.head.") for name in names)


@torch.no_grad()
def test_a_copy_shares_within_itself_only():
    model = shared_vocab.model()
    twin: ImageModel = copy.deepcopy(model)
    assert twin.text.head.shared is twin.picture.head and twin.prompt.embedders[0].shared is twin.picture.head
    assert twin.picture.head is not model.picture.head
