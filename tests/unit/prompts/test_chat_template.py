"""Chat template: the special tokens and phrases of a language model's prompt, and those round a picture it is shown."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import chat_template
import tiny
from kiloword.document import condition_span, to_describe, to_draw, twice
from kiloword.prompts.chat_template import ChatTemplateConfig
from kiloword.prompts.prompt import Prompt
from kiloword.tokens import Picture, Prompted, Text

MODEL = chat_template.model()
PROMPT = MODEL.prompt
MARKS = chat_template.BEGIN, chat_template.OPEN, chat_template.CLOSE
PROMPTS = st.lists(st.sampled_from([*tiny.TEXTS, "", None]), min_size=1, max_size=4)


def ids_of(text: str) -> list[int]:
    return PROMPT.words.encode([text], 60)[0][0].tolist()


def said(document: list) -> list:
    """What is laid of a document: the ids of its words, and its pictures and texts that are asked for."""
    laid = PROMPT.script(twice(document))
    return [segment.prompt.tolist() if isinstance(segment, Prompted) else segment for segment in laid]


def test_it_obeys_the_law():
    assert isinstance(PROMPT, Prompt) and PROMPT.required and not PROMPT.predicted


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
    documents = to_describe(tiny.tokens(MODEL, 3), tiny.layout_of(MODEL))
    table = MODEL.text.head.extended.embedding.weight * 4.0
    told = [chat_template.CLOSE, *ids_of("This shows:")]
    opening = MODEL.opening(documents)
    for row, (picture, text) in enumerate(documents):
        assert said([picture, text]) == [[chat_template.BEGIN, chat_template.OPEN], picture, told, text]
        vectors = opening.stream.vectors[row, opening.stream.present[row]]
        assert len(vectors) == 2 + 8 + len(told) - 1
        assert torch.equal(vectors[:2], table[[chat_template.BEGIN, chat_template.OPEN]])
        assert torch.equal(vectors[10:], table[told[:-1]])
        assert torch.equal(opening.condition.start[row], table[told[-1]])


def test_each_picture_of_a_conversation_stands_between_its_marks():
    """Asked for behind a text, it is requested; the next turn begins behind its close."""
    picture, BEGIN, OPEN, CLOSE = Picture(tiny.layout_of(MODEL), tiny.tokens(MODEL, 1)[0]), *MARKS
    asked = replace(picture, predict=True)
    first, second = [*ids_of("a pear Draw this."), OPEN], [CLOSE, *ids_of("blue house Draw this."), OPEN]
    shown = replace(asked, predict=False)
    document = [Text("a pear"), asked, Text("blue house"), asked]
    assert said(document) == [[BEGIN, *first], asked, [OPEN], shown, second, asked]
    assert said([picture, Text("a pear"), asked]) == [[BEGIN, OPEN], picture, [CLOSE, *first], asked]
    answer = Text("yes", predict=True)
    assert said([Text("a pear"), answer]) == [[BEGIN, *ids_of("a pear")], answer]
    assert said([Text(None), asked]) == [[BEGIN, chat_template.NOTHING, OPEN], asked]
    whole = torch.tensor([2, 9, OPEN])
    assert said([Text(whole), asked]) == [[2, 9, OPEN], asked]


@torch.no_grad()
def test_every_row_takes_its_own_time_pictures_too():
    layout = tiny.layout_of(MODEL)
    for documents in (to_describe(tiny.tokens(MODEL, 2), layout), to_draw(["a pear", "blue house"], layout)):
        opening = MODEL.opening(documents)
        assert opening.condition.start is not None
        for row, count in enumerate(opening.lengths.tolist()):
            assert opening.stream.causal[row, :count].all() and int(opening.time[row]) == count
            assert opening.stream.positions[row, :count, 0].tolist() == list(range(count))
    span = MODEL.picture.read_span(tiny.tokens(MODEL, 2), layout)
    assert span.positions[0, :, 0].tolist() == span.step[0].tolist() == list(range(8))
    assert span.causal and span.lasts.tolist() == [8, 8]
    assert int(condition_span(PROMPT.read([None])).lasts) == 2


def test_wrong_prompts_are_refused():
    with pytest.raises(ValueError, match="the limit is 60: shorten 'zzz"):
        PROMPT.read(["z" * 61])
    for wrong in (torch.zeros(2, 2, dtype=torch.long), torch.zeros(3), torch.zeros(0, dtype=torch.long)):
        with pytest.raises(ValueError, match="a prompt of ids is a vector of whole numbers"):
            PROMPT.read([wrong])
    with pytest.raises(ValueError, match="at least 1 token, got 0"):
        ChatTemplateConfig(1, 2, 3, limit=0)
