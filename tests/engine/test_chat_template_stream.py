"""A picture in a language model's stream of text: cached, uncached and teacher-forced are one; nothing leaks."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import chat_template
import tiny
from kiloword.document import Piece, lay, text_span, to_describe, to_learn
from kiloword.engine.drive import draw, write
from kiloword.engine.rerank import read_back
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Seeded

CASES = st.fixed_dictionaries({
    "begin": st.sampled_from([None, chat_template.BEGIN]), "tied": st.booleans(), "depth": st.integers(1, 2),
})  # fmt: skip
PROMPTS = st.lists(st.sampled_from([*tiny.TEXTS, "", None]), min_size=1, max_size=3)


def as_text(model: ImageModel, ids: list[int]) -> torch.Tensor:
    """Logits of all ids behind each of some: the same stack, and no notion of pictures at all."""
    head = model.picture.head
    rows = head.embedding(torch.tensor([ids])) * head.config.gain
    present = torch.ones(1, len(ids), dtype=torch.bool)
    return model.transformer(lay([[Piece(0, 0)]], [text_span(rows, present, causal=True)]).stream)[0] @ head.matrix.T


@given(CASES, PROMPTS, st.data())
@torch.no_grad()
def test_cached_uncached_and_teacher_forced_see_the_same(case, prompts, data):
    model = chat_template.model(**case)
    model.picture.head = head = tiny.RecordingHead(model.picture.head)
    mask = torch.rand(len(prompts), 8, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 9)))) < 0.3
    drawing = tiny.drawing(model, prompts, tokens=tiny.tokens(model, len(prompts), seed=5), given=mask)
    slow = [progress.tokens for progress in model.draw(drawing, Seeded(range(len(prompts))))]
    uncached = head.take()
    fast = [progress.tokens for progress in draw(model, drawing, Seeded(range(len(prompts))))]
    cached = head.take()
    assert all(torch.equal(a, b) for a, b in zip(slow, fast, strict=True))
    tiny.picture_losses(model, prompts, slow[-1], capacity=data.draw(st.integers(1, 60)))
    assert torch.allclose(cached, uncached, atol=1e-4)
    assert torch.allclose(cached, head.take(), atol=1e-4)


@given(CASES, PROMPTS, st.sampled_from([1.0, 7.0]))
@torch.no_grad()
def test_every_step_is_the_same_with_guidance(case, prompts, guidance):
    model, seeds = chat_template.model(**case), range(len(prompts))
    drawing = tiny.drawing(model, prompts, guidance, sampling=Sampling(0.9, top_k=4, top_p=0.9))
    for a, b in zip(model.draw(drawing, Seeded(seeds)), draw(model, drawing, Seeded(seeds)), strict=True):
        assert torch.equal(a.tokens, b.tokens)


@given(CASES, st.sampled_from([*tiny.TEXTS, None]))
@torch.no_grad()
def test_the_loss_of_a_picture_is_that_of_so_many_more_words(case, prompt):
    model = chat_template.model(**case)
    tokens, layout = tiny.tokens(model, 1), tiny.layout_of(model)
    asked = model.prompt.ids(prompt)
    ids = [*asked, *(tokens[0] + model.picture.head.config.first).tolist()]
    log = as_text(model, ids[:-1]).log_softmax(-1)[len(asked) - 1 :]
    wanted = -log[torch.arange(layout.count), tokens[0] + model.picture.head.config.first]
    assert torch.allclose(tiny.picture_losses(model, [prompt], tokens)[0], wanted, atol=1e-4)


@given(CASES, st.lists(st.sampled_from(tiny.TEXTS), min_size=1, max_size=3))
@torch.no_grad()
def test_the_loss_of_a_caption_is_that_of_words_behind_a_picture_that_is_words(case, said):
    model = chat_template.model(**case, limit=20)
    pictures, layout = tiny.tokens(model, len(said)), tiny.layout_of(model)
    told = tiny.text_losses(model, said, pictures)
    begin, words = [] if case["begin"] is None else [chat_template.BEGIN], model.text.tokenizer
    cue = words.encode(["This shows:"], 60)[0][0].tolist()
    likely = read_back(model, pictures, layout, [[text] for text in said])
    for picture, text, losses, found in zip(pictures, said, told, likely, strict=True):
        code = (picture + model.picture.head.config.first).tolist()
        told_ids = [*words.encode([text], 60)[0][0].tolist(), chat_template.END]
        before = [*begin, chat_template.OPEN, *code, chat_template.CLOSE, *cue]
        log = as_text(model, [*before, *told_ids[:-1]]).log_softmax(-1)[len(before) - 1 :]
        wanted = -log[torch.arange(len(told_ids)), told_ids]
        assert torch.allclose(losses[: len(told_ids)], wanted, atol=1e-4) and not losses[len(told_ids) :].any()
        assert torch.allclose(found, -wanted.sum(), atol=1e-3)


@given(CASES, st.integers(0, 7))
@torch.no_grad()
def test_a_token_changes_only_what_is_predicted_later(case, token):
    model = chat_template.model(**case)
    tokens = tiny.tokens(model, 2)
    shown = tokens.clone()
    shown[:, token] = (shown[:, token] + 1) % chat_template.CODES
    before = tiny.picture_losses(model, ["a pear", None], tokens)
    after = tiny.picture_losses(model, ["a pear", None], tokens, shown)
    assert torch.equal(before[:, : token + 1], after[:, : token + 1])
    assert ((before - after).abs()[:, token + 1 :] > 1e-7).all()


@given(CASES, st.integers(0, 6))
@torch.no_grad()
def test_a_picture_that_is_read_is_read_in_one_direction(case, token):
    """What an earlier token says does not depend on later ones, unlike in models that see a picture at a glance."""
    model = chat_template.model(**case)
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 1)
    other = tokens.clone()
    other[:, token] = (other[:, token] + 1) % chat_template.CODES
    one, two = (model.opening(to_describe(seen, layout)).stream for seen in (tokens, other))
    first = int((one.vectors != two.vectors).any(2)[0].int().argmax())
    assert first == (2 if case["begin"] is not None else 1) + token
    one, two = model.transformer(one), model.transformer(two)
    assert torch.equal(one[:, :first], two[:, :first])
    assert not torch.isclose(one[:, first:], two[:, first:]).all(2).any()


@given(st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True))
@torch.no_grad()
def test_what_is_written_of_a_picture_does_not_depend_on_the_others(seeds):
    model = chat_template.model()
    model.text.head.extended.embedding.weight[: chat_template.BEGIN] *= 3  # so that some texts end before the limit
    pictures = torch.cat([tiny.tokens(model, 1, seed) for seed in seeds])
    together = write(model, to_describe(pictures, tiny.layout_of(model)), Sampling(), Seeded(seeds))
    for row, seed in enumerate(seeds):
        alone = write(model, to_describe(pictures[row : row + 1], tiny.layout_of(model)), Sampling(), Seeded([seed]))
        assert alone == [together[row]]


@pytest.mark.parametrize("tied", [True, False])
def test_losses_reach_every_weight_and_the_vocabulary_is_counted_once(tied):
    model = chat_template.model(tied=tied)
    layout, tokens = tiny.layout_of(model), tiny.tokens(model, 2)
    documents = [*to_learn(["a red apple", None], layout, tokens), *to_describe(tokens[:1], layout, ["a pear"])]
    losses = model.loss(documents)
    (losses["picture"].mean() + losses["text"].mean()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    names = [name for name in model.state_dict() if not name.startswith("transformer.")]
    assert names == ["picture.head.embedding.weight", "picture.head.output.weight"][: 1 if tied else 2]


@torch.no_grad()
def test_a_copy_shares_within_itself_only():
    model = chat_template.model()
    twin: ImageModel = copy.deepcopy(model)
    assert twin.text.head.extended is twin.picture.head and twin.prompt.embedders[0].extended is twin.picture.head
    assert twin.picture.head is not model.picture.head
