"""Chat template: the words and marks that a language model is asked with, and those round a picture it is shown."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import chat_template
import tiny
from kiloword.model import prefix_span
from kiloword.prompts.chat_template import ChatTemplateConfig
from kiloword.prompts.prompt import Framing, Prompt

MODEL = chat_template.model()
PROMPT = MODEL.prompt
PROMPTS = st.lists(st.sampled_from([*tiny.TEXTS, "", None]), min_size=1, max_size=4)


def ids_of(text: str) -> list[int]:
    return PROMPT.words.encode([text], 60)[0][0].tolist()


def test_it_obeys_the_laws():
    assert isinstance(PROMPT, Prompt) and isinstance(PROMPT, Framing)


@pytest.mark.parametrize("begin", [None, chat_template.BEGIN])
def test_a_text_stands_between_its_marks_with_the_request_behind_it(begin):
    prompt = chat_template.model(begin=begin).prompt
    first = [] if begin is None else [begin]
    assert prompt.ids("a pear") == [*first, *ids_of("a pear Draw this."), chat_template.OPEN]
    assert prompt.ids(None) == [*first, chat_template.NOTHING, chat_template.OPEN]
    assert prompt.ids(torch.tensor([3, 9])) == [3, 9]


@given(PROMPTS)
@torch.no_grad()
def test_the_last_id_is_the_pictures_first_row_and_the_others_stand_before(prompts):
    condition = PROMPT.read(prompts)
    assert condition.causal and condition.placed
    for row, prompt in enumerate(prompts):
        vectors = MODEL.text.head.extended.embedding(torch.tensor(PROMPT.ids(prompt))) * 4.0
        count = len(vectors) - 1
        assert condition.present[row].tolist() == [i < count for i in range(condition.prefix.shape[1])]
        assert torch.equal(condition.prefix[row, :count], vectors[:-1])
        assert torch.equal(condition.start[row], vectors[-1])


@given(PROMPTS)
@torch.no_grad()
def test_the_null_condition_is_that_of_no_prompt(prompts):
    null, nothing = PROMPT.null(PROMPT.read(prompts)), PROMPT.read([None] * len(prompts))
    assert torch.equal(null.prefix, nothing.prefix) and torch.equal(null.start, nothing.start)
    assert null.present.all() and null.prefix.shape[1] == 2


@torch.no_grad()
def test_a_picture_that_is_shown_stands_between_marks_too():
    before, after = PROMPT.frame(3)
    table = MODEL.text.head.extended.embedding.weight * 4.0
    told = [chat_template.CLOSE, *ids_of("This shows:")]
    opened = table[[chat_template.BEGIN, chat_template.OPEN]]
    assert torch.equal(before.prefix, opened.expand(3, -1, -1)) and before.start is None
    assert torch.equal(after.prefix, table[told[:-1]].expand(3, -1, -1))
    assert torch.equal(after.start, table[told[-1:]].expand(3, -1))


@torch.no_grad()
def test_every_row_takes_its_own_time_pictures_too():
    spans, after = MODEL.reading(tiny.tokens(MODEL, 2), tiny.layout_of(MODEL))
    assert [span.causal for span in spans] == [True] * 3 and after is not None
    assert [int(span.lasts[0]) for span in spans] == [span.vectors.shape[1] for span in spans]
    assert spans[1].places[0, :, 0].tolist() == spans[1].step[0].tolist() == list(range(8))
    assert int(prefix_span(PROMPT.read([None])).lasts) == 2


def test_wrong_prompts_are_refused():
    with pytest.raises(ValueError, match="the limit is 60: shorten 'zzz"):
        PROMPT.read(["z" * 61])
    for wrong in (torch.zeros(2, 2, dtype=torch.long), torch.zeros(3), torch.zeros(0, dtype=torch.long)):
        with pytest.raises(ValueError, match="a prompt of ids is a vector of whole numbers"):
            PROMPT.read([wrong])
    with pytest.raises(ValueError, match="at least 1 token, got 0"):
        ChatTemplateConfig(1, 2, 3, limit=0)
